"""Guesses that a text goes on as it did where its last tokens stood before.

Prompt lookup decoding (A. Saxena, 2023): of the earlier places where the longest run of last
tokens stands, the latest is continued. Answers that quote, edit or summarise their prompt, and
texts that repeat themselves, are guessed well.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.scheduler import Sequence as CacheSequence

LEAST_RUN, MOST_RUN = 2, 8
"""Tokens that must stand alike before a guess, and that are compared at most."""


class Lookup:
    """Satisfies `Proposer`; a search reads the text's ids once, some microseconds a thousand."""

    cost = 0.0
    first_rate = 0.35

    def __init__(self) -> None:
        self._texts: dict[CacheSequence, _Text] = {}

    def propose(
        self, sequences: Sequence[CacheSequence], lengths: Sequence[int]
    ) -> list[list[int]]:
        """The tokens after the latest place that is like the end; none where there is no such."""
        guesses = []
        for sequence, length in zip(sequences, lengths, strict=True):
            text = self._texts.setdefault(sequence, _Text())
            text.follow(sequence.tokens)
            guesses.append(continuation(text.ids, length))
        return guesses

    def forget(self, sequence: CacheSequence) -> None:
        """Let its copy go."""
        self._texts.pop(sequence, None)

    def restart(self) -> None:
        """Nothing is on the device."""


class _Text:
    """A sequence's tokens as an array that grows with them."""

    def __init__(self) -> None:
        self._held = np.empty(256, np.int32)
        self._count = 0

    @property
    def ids(self) -> NDArray[np.int32]:
        return self._held[: self._count]

    def follow(self, tokens: list[int]) -> None:
        """Take over what the list has got since the last call."""
        if len(tokens) > len(self._held):
            held = np.empty(2 * len(tokens), np.int32)
            held[: self._count] = self.ids
            self._held = held
        self._held[self._count : len(tokens)] = tokens[self._count :]
        self._count = len(tokens)


def continuation(ids: NDArray[np.int32], length: int) -> list[int]:
    """Up to `length` ids that follow the longest run of last ids at its latest earlier place.

    A place that overlaps the end goes on as what is guessed does: a period is kept up.
    """
    last = len(ids) - 1
    ends = np.flatnonzero(ids[:last] == ids[last])
    run = 1
    while run < MOST_RUN and len(ends):
        longer = ends[ends >= run]
        longer = longer[ids[longer - run] == ids[last - run]]
        if not len(longer):
            break
        ends, run = longer, run + 1
    if run < LEAST_RUN or not len(ends):
        return []
    start = int(ends[-1]) + 1
    period = last + 1 - start
    source = ids[start : start + length].tolist()
    return [source[i % period] for i in range(length)]
