"""Byte-level BPE vocabularies in GGUF files: made into a tokenizer of the tokenizers package.

`tokenizer.ggml.pre` names how text is split into words before bytes are merged; the names and the
patterns behind them are llama.cpp's. Text is not normalised, as it is not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.gguf import CONTROL, USER_DEFINED, GgufVocabulary
from cl_llama.tokenizers.hf import HfTokenizer, HfVocabulary
from cl_llama.tokenizers.hf_rules import ByteRules, byte_level_bytes
from cl_llama.tokenizers.streaming import LeadingSpace

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_BY_DIGITS = (
    _CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BY_CASE = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
    r"|%s| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Words:
    """How a kind of vocabulary splits text: by each pattern in turn, within what is left."""

    patterns: tuple[str, ...]
    whole_words: bool = False
    """A word that is a token is taken without merging."""
    adds_bos: bool = False
    """What holds where the file does not say."""


_LLAMA3 = _Words((_BY_DIGITS % r"\p{N}{1,3}",), whole_words=True, adds_bos=True)
_DBRX = _Words(_LLAMA3.patterns)
_QWEN2 = _Words((_BY_DIGITS % r"\p{N}",))
_PLAIN_GPT2 = _Words((_GPT2,))
_STARCODER = _Words((r"\p{N}", _GPT2))
_TEKKEN = _Words((_BY_CASE % ("", "", r"\p{N}"),), whole_words=True, adds_bos=True)
_GPT4O = _Words((_BY_CASE % (_CONTRACTIONS + "?", _CONTRACTIONS + "?", r"\p{N}{1,3}"),))
_DEEPSEEK_CODER = _Words(
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}")
)
_DEFAULT = _Words((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))

_WORDS = {
    "default": _DEFAULT,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "pixtral": _LLAMA3,
    "dbrx": _DBRX,
    "smaug-bpe": _DBRX,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "megrez": _QWEN2,
    "stablelm2": _QWEN2,
    "gpt-2": _PLAIN_GPT2,
    "phi-2": _PLAIN_GPT2,
    "mpt": _PLAIN_GPT2,
    "olmo": _PLAIN_GPT2,
    "exaone4": _PLAIN_GPT2,
    "starcoder": _STARCODER,
    "refact": _STARCODER,
    "smollm": _STARCODER,
    "command-r": _STARCODER,
    "codeshell": _STARCODER,
    "exaone": _STARCODER,
    "minerva-7b": _STARCODER,
    "tekken": _TEKKEN,
    "gpt-4o": _GPT4O,
    "llama4": _GPT4O,
    "deepseek-coder": _DEEPSEEK_CODER,
}


def load_gguf_bpe(vocabulary: GgufVocabulary) -> HfTokenizer:
    """The tokenizer of a "gpt2" vocabulary; raises `TokenizerError` if it is damaged or unknown."""
    name = vocabulary.entries.get("pre", "default")
    if not isinstance(name, str) or name not in _WORDS:
        raise TokenizerError(
            f"{vocabulary.path}: tokenizer.ggml.pre is {name!r:.80}, supported are"
            f" {', '.join(_WORDS)}; name the model's tokenizer.json with tokenizer_path"
        )
    words = _WORDS[name]
    pieces = vocabulary.pieces
    ids = {piece: token_id for token_id, piece in enumerate(pieces)}
    merges = [_merge(vocabulary, line) for line in vocabulary.strings("merges")]
    ends = vocabulary.ends(bos_id=None, eos_id=None, adds_bos=words.adds_bos)
    control = _of_kind(vocabulary, CONTROL)
    control += [i for i in (ends.bos_id, *ends.eos_ids) if i is not None and i not in control]
    try:
        inner = tokenizers.Tokenizer(
            models.BPE(vocab=ids, merges=merges, ignore_merges=words.whole_words)
        )
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(p), "isolated") for p in words.patterns),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        inner.decoder = decoders.ByteLevel()
        inner.add_special_tokens(_added(pieces, control, special=True))
        inner.add_tokens(_added(pieces, _of_kind(vocabulary, USER_DEFINED), special=False))
    except Exception as error:  # the package raises nothing more specific
        reason = " ".join(str(error).split())
        raise vocabulary.error(f"no tokenizer can be made of it ({reason})") from error
    special = {pieces[i]: i for i in control}
    return HfTokenizer(
        inner,
        HfVocabulary(pieces, special, ends.bos_id, ends.eos_ids, ends.adds_bos),
        ByteRules(byte_level_bytes, LeadingSpace.KEEP),
    )


def _merge(vocabulary: GgufVocabulary, line: str) -> tuple[str, str]:
    """Two pieces with a space between them; the first character is never that space."""
    space = line.find(" ", 1)
    if space < 0:
        raise vocabulary.error(f"tokenizer.ggml.merges holds {line!r:.80}, expected two pieces")
    return line[:space], line[space + 1 :]


def _of_kind(vocabulary: GgufVocabulary, kind: int) -> list[int]:
    return [i for i, one in enumerate(vocabulary.types or ()) if one == kind]


def _added(pieces: Sequence[str], ids: Sequence[int], special: bool) -> list[AddedToken]:
    return [AddedToken(pieces[i], normalized=False, special=special) for i in ids if pieces[i]]
