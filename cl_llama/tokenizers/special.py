"""Special tokens: their ids in a text that spells them, and which of them end a turn."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Tokens that end a text or a chat turn in the model families that spell them so.
END_NAMES = ("<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<end_of_turn>")


@dataclass(frozen=True)
class TextEnds:
    """The tokens around a text: what begins it, what may end it."""

    bos_id: int | None
    eos_ids: tuple[int, ...]
    adds_bos: bool


def end_ids(eos_id: int | None, special: Mapping[str, int]) -> tuple[int, ...]:
    """`eos_id` (if any), then the ids of `END_NAMES` among the special tokens."""
    found = [] if eos_id is None else [eos_id]
    found += [special[name] for name in END_NAMES if name in special]
    return tuple(dict.fromkeys(found))


class SpecialSplitter:
    """Splits a text at the special tokens that it spells, the longest spelling first."""

    def __init__(self, special: Mapping[str, int]) -> None:
        """`special`: spelling to id; empty spellings are ignored."""
        self._special = special
        names = sorted(filter(None, special), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, names))) if names else None

    def split(self, text: str) -> Iterator[str | int]:
        """The text's plain parts, none of them empty, and the ids between them, in order."""
        start = 0
        for match in self._pattern.finditer(text) if self._pattern else ():
            if match.start() > start:
                yield text[start : match.start()]
            yield self._special[match.group()]
            start = match.end()
        if start < len(text):
            yield text[start:]
