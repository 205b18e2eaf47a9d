"""Hugging Face's `tokenizer.json`, through the tokenizers package, and the files beside it."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.bytewise import BytewiseTokenizer
from cl_llama.tokenizers.hf_rules import ByteRules, byte_rules, template_bos
from cl_llama.tokenizers.hf_window import WindowStreamDecoder
from cl_llama.tokenizers.plaintext import valid_unicode
from cl_llama.tokenizers.protocol import Tokenizer
from cl_llama.tokenizers.special import end_ids
from cl_llama.tokenizers.streaming import LeadingSpace, StreamDecoder

MAX_TOKEN_ID = (1 << 22) - 1  # a damaged file may name any id; tables are made up to the highest

# Where no file names them, the names that Llama-family models give these tokens.
BOS_NAMES = ("<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>")
EOS_NAMES = ("</s>", "<|end_of_text|>", "<|endoftext|>", "<|im_end|>", "<eos>")

# Characters of several kinds, to see at once whether a vocabulary works at all.
_PROBE = "a ▁é😀\n1"


@dataclass(frozen=True)
class HfVocabulary:
    """What the files say about the tokens: their spellings by id, and what some of them are for."""

    pieces: Sequence[str]
    special: Mapping[str, int]
    bos_id: int | None
    eos_ids: tuple[int, ...]
    adds_bos: bool


class HfTokenizer(BytewiseTokenizer):
    """A tokenizer of the tokenizers package, as tokenizer.json describes it.

    Added tokens that the file does not call special are matched in every text, as the tokenizers
    package does. Text is decoded as the file's decoder says, but for invalid UTF-8 and for
    transformers' `clean_up_tokenization_spaces`, which would change generated text.
    """

    def __init__(
        self, inner: tokenizers.Tokenizer, vocabulary: HfVocabulary, rules: ByteRules | None
    ) -> None:
        """Take a loaded tokenizer; `rules` as its decoder has them, None to leave them unused."""
        special_ids = frozenset(vocabulary.special.values())
        super().__init__(
            pieces=vocabulary.pieces,
            contributions=[
                b"" if i in special_ids else rules.bytes_of(piece)
                for i, piece in enumerate(vocabulary.pieces)
            ]
            if rules
            else (),
            special_ids=special_ids,
            leading=rules.leading if rules else LeadingSpace.KEEP,
            bos_id=vocabulary.bos_id,
            eos_ids=vocabulary.eos_ids,
            adds_bos=vocabulary.adds_bos,
        )
        self._inner = inner
        # Whether special tokens are plain text is a setting of the tokenizer, not of a call.
        self._setting = threading.Lock()

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of `text`; see `Tokenizer.encode`."""
        text = valid_unicode(text)
        with self._setting:
            self._inner.encode_special_tokens = not special
            encoding = self._inner.encode(text, add_special_tokens=False)
        return self.beginning(add_bos) + encoding.ids


class WindowedHfTokenizer(HfTokenizer):
    """A tokenizer whose decoder looks at more than one token at a time, such as WordPiece's."""

    def __init__(self, inner: tokenizers.Tokenizer, vocabulary: HfVocabulary) -> None:
        """Take a loaded tokenizer."""
        super().__init__(inner, vocabulary, rules=None)
        self._context = self.encode("a", add_bos=False)

    def decode(self, ids: Sequence[int], skip_special: bool = True, at_start: bool = True) -> str:
        """Text of `ids`; with `at_start=False`, as they are shown after another text."""
        known = [int(token_id) for token_id in ids if self._known(token_id)]
        context = [] if at_start else self._context
        text: str = self._inner.decode(context + known, skip_special)
        shown: str = self._inner.decode(context, skip_special)
        return text[len(shown) :]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token contributes in the middle of a text; none for a special token."""
        return self.decode([token_id], at_start=False).encode()

    def stream(self, at_start: bool = False, skip_special: bool = True) -> StreamDecoder:
        """Decode one token at a time; all pieces joined are `decode` with the same arguments."""
        hidden = self._special_ids if skip_special else frozenset()
        return WindowStreamDecoder(
            lambda ids: self.decode(ids, skip_special=False),
            [] if at_start else self._context,
            hidden,
        )


def load_hf(data: bytes, path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json's content; `path` finds the files beside it.

    tokenizer_config.json, else special_tokens_map.json, names the BOS and EOS tokens;
    "add_bos_token" of the former, else the post-processor's template, says whether a BOS is added.
    Raises `TokenizerError` if one of the files is damaged.
    """
    try:
        inner = tokenizers.Tokenizer.from_str(data.decode())
        inner.no_truncation()
        inner.no_padding()
        inner.decode(inner.encode(_PROBE, add_special_tokens=False).ids)
        rules = byte_rules(_state(inner.decoder))
        bos_of_template = template_bos(_state(inner.post_processor))
        vocabulary = _vocabulary(inner, bos_of_template, config_beside(path))
    except TokenizerError:
        raise
    except BaseException as error:
        # The package raises bare Exceptions; panics of its Rust code are not even those.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())
        raise TokenizerError(
            f"{path}: expected a tokenizer.json, got a damaged one ({reason}); fetch it again"
        ) from error
    return (
        HfTokenizer(inner, vocabulary, rules) if rules else WindowedHfTokenizer(inner, vocabulary)
    )


def _vocabulary(
    inner: tokenizers.Tokenizer, bos_of_template: int | None, config: Mapping[str, Any]
) -> HfVocabulary:
    """The tokens and their uses. Raises `ValueError` for ids that no vocabulary has."""
    ids: dict[str, int] = inner.get_vocab(with_added_tokens=True)
    highest = max(ids.values(), default=-1)
    if not 0 <= highest <= MAX_TOKEN_ID or (bos_of_template or 0) > highest:
        raise ValueError(f"the highest token id is {highest}, the template's {bos_of_template}")
    pieces = [""] * (highest + 1)
    for piece, token_id in ids.items():
        pieces[token_id] = piece
    special = {
        token.content: token_id
        for token_id, token in inner.get_added_tokens_decoder().items()
        if token.special
    }
    if "bos_token" in config:
        bos_id = _token_id(ids, config["bos_token"])
    elif bos_of_template is not None:
        bos_id = bos_of_template
    else:
        bos_id = next((special[name] for name in BOS_NAMES if name in special), None)
    if "eos_token" in config:
        eos_id = _token_id(ids, config["eos_token"])
    else:
        eos_id = next((special[name] for name in EOS_NAMES if name in special), None)
    special |= {pieces[token_id]: token_id for token_id in (bos_id, eos_id) if token_id is not None}
    adds_bos = config.get("add_bos_token")
    if not isinstance(adds_bos, bool):
        adds_bos = bos_id is not None and bos_id == bos_of_template
    return HfVocabulary(pieces, special, bos_id, end_ids(eos_id, special), adds_bos)


def _state(part: Any) -> Mapping[str, Any] | None:
    """A tokenizer's decoder or post-processor as the JSON it was made from."""
    if part is None:
        return None
    state = json.loads(part.__getstate__())
    return state if isinstance(state, dict) else None


def config_beside(path: Path) -> Mapping[str, Any]:
    """tokenizer_config.json's entries over those of special_tokens_map.json, where they exist."""
    entries: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        file = path.with_name(name)
        try:
            loaded = json.loads(file.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise TokenizerError(
                f"{file}: expected JSON, could not read it ({error}); fetch the file again"
            ) from error
        if not isinstance(loaded, dict):
            raise TokenizerError(f"{file}: expected a JSON object, got {type(loaded).__name__}")
        entries |= loaded
    return entries


def _token_id(ids: Mapping[str, int], entry: Any) -> int | None:
    """Id of a token named by its text, alone or as an object's "content"; None if there is none."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return ids.get(text) if isinstance(text, str) else None
