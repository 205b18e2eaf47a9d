"""Llama 3's `tokenizer.model`: byte-pair ranks as text, applied by the tiktoken package.

Each line is a token's bytes in base64, a space and its rank; a token's id is its rank. The split
pattern and the special tokens, whose ids follow the last rank, are not in the file: they are
those of Meta's reference code (meta-llama/llama-models, with Llama 3.1's names).
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import tiktoken

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.bytewise import BytewiseTokenizer
from cl_llama.tokenizers.plaintext import valid_unicode
from cl_llama.tokenizers.special import end_ids
from cl_llama.tokenizers.streaming import LeadingSpace

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_NAMES = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|step_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    *(f"<|reserved_special_token_{i}|>" for i in range(2, 247)),
)

# Meta's limits: tiktoken's pattern matching overflows its stack on longer texts and runs.
MAX_TEXT = 400_000
MAX_RUN = 25_000

_RUN = re.compile(r"\s+|\S+")


class TiktokenTokenizer(BytewiseTokenizer):
    """Llama 3's tokenizer, equal to Meta's reference code; a byte-level one, with no dummy space.

    A piece is the token's bytes as UTF-8, with \\xNN for bytes that are not.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        """Load from the file's content; `path` is for messages only.

        Raises `TokenizerError` if a line is malformed or out of order, or a byte has no token.
        """
        tokens = read_ranks(data, path)
        special = {name: len(tokens) + i for i, name in enumerate(SPECIAL_NAMES)}
        self._encoding = tiktoken.Encoding(
            path.name,
            pat_str=SPLIT_PATTERN,
            mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
            special_tokens=special,
        )
        super().__init__(
            pieces=[token.decode("utf-8", "backslashreplace") for token in tokens] + list(special),
            contributions=tokens + [b""] * len(special),
            special_ids=frozenset(special.values()),
            leading=LeadingSpace.KEEP,
            bos_id=special["<|begin_of_text|>"],
            eos_ids=end_ids(special["<|end_of_text|>"], special),
            adds_bos=True,
        )

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of `text`; see `Tokenizer.encode`."""
        ids = self.beginning(add_bos)
        for part in split_long(valid_unicode(text)):
            if special:
                ids += self._encoding.encode(part, allowed_special="all")
            else:
                ids += self._encoding.encode_ordinary(part)
        return ids


def split_long(text: str) -> Iterator[str]:
    """Cut `text` every `MAX_TEXT` characters, and runs of (non-)whitespace every `MAX_RUN`."""
    for start in range(0, len(text), MAX_TEXT):
        chunk = text[start : start + MAX_TEXT]
        begin = 0
        for run in _RUN.finditer(chunk):
            for cut in range(run.start() + MAX_RUN, run.end(), MAX_RUN):
                yield chunk[begin:cut]
                begin = cut
        yield chunk[begin:]


def read_ranks(data: bytes, path: Path) -> list[bytes]:
    """The tokens in order of rank. Raises `TokenizerError` if the content is damaged."""

    def damaged(reason: str) -> TokenizerError:
        return TokenizerError(
            f"{path}: expected tiktoken's text form (base64, space, rank), got {reason}; "
            "fetch the file again"
        )

    tokens: list[bytes] = []
    for line in data.splitlines():
        encoded, _, rank = line.partition(b" ")
        try:
            if int(rank) != len(tokens):
                raise damaged(f"rank {int(rank)} on line {len(tokens) + 1}")
            tokens.append(base64.b64decode(encoded, validate=True))
        except ValueError as error:
            raise damaged(f"{line[:40]!r} on line {len(tokens) + 1}") from error
    distinct = set(tokens)
    if len(distinct) != len(tokens) or b"" in distinct:
        raise damaged("an empty token or one token twice")
    missing = [byte for byte in range(256) if bytes([byte]) not in distinct]
    if missing:
        raise damaged(f"no token for byte 0x{missing[0]:02X} among {len(tokens)} tokens")
    return tokens
