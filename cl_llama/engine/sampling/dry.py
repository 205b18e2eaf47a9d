"""DRY ("don't repeat yourself"): tokens that would go on with a repetition become less likely.

Source: text-generation-webui's sampler with llama.cpp's parameters. If the text's last n tokens
stood before in the prompt or the text, the token that followed them there loses
multiplier * base ** (n - allowed_length) of its logit, where n is at least allowed_length and the
longest of all such places. A repetition does not reach back over a sequence breaker, and breakers
themselves are not made less likely.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.params import SamplingParams

_MAX_PENALTY = 1e30  # finite, so that a token which a mask leaves alone can still be taken


class Breakers(Protocol):
    """Finds sequence breakers in one request's tokens; they are text, and so not known here."""

    def read(self, token_id: int) -> bool:
        """Take the next token of prompt and text; whether a breaker ends in it."""

    def holds(self, token_id: int) -> bool:
        """Whether a token contains a whole breaker."""


class Dry:
    """One request's tokens, and for each how many before it agree with the last ones.

    `_lengths[i]` is the number of tokens for which the tokens up to and including i agree with all
    tokens' end. A new token lengthens or ends each of these by one step, in O(n) without a loop.
    """

    def __init__(
        self, params: SamplingParams, prompt_ids: Sequence[int], breakers: Breakers | None
    ) -> None:
        """Before the first step; O(n) in the prompt. Without breakers nothing breaks."""
        self._params = params
        self._breakers = breakers
        self._count = len(prompt_ids)
        self._ids = np.zeros(2 * self._count + 256, dtype=np.int64)
        self._ids[: self._count] = prompt_ids
        self._lengths = np.zeros(len(self._ids), dtype=np.int64)
        self._lengths[: self._count] = suffix_matches(prompt_ids)
        self._unbroken = 0  # tokens since the last breaker
        for token_id in prompt_ids:
            self._read(token_id)

    def record(self, token_id: int) -> None:
        """A token was generated."""
        count = self._count
        if count == len(self._ids):
            self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        same = self._ids[:count] == token_id
        before = np.zeros(count, dtype=np.int64)
        before[1:] = self._lengths[: max(count - 1, 0)]
        self._lengths[:count] = np.where(same, before + 1, 0)
        self._ids[count] = token_id
        self._count += 1
        self._read(token_id)

    def apply(self, logits_V: NDArray[np.float64]) -> None:
        """Change the logits in place."""
        params = self._params
        first, last = 0, self._count - 1
        if params.dry_penalty_last_n >= 0:
            first = max(0, self._count - params.dry_penalty_last_n)
        if last <= first or self._unbroken < params.dry_allowed_length:
            return
        places = first + np.flatnonzero(self._lengths[first:last] >= params.dry_allowed_length)
        # A match reaches back to the first token that counts, and to the last breaker.
        lengths = np.minimum(self._lengths[places], np.minimum(places - first + 1, self._unbroken))
        places = places[lengths >= params.dry_allowed_length]
        lengths = lengths[lengths >= params.dry_allowed_length]
        if len(places) == 0:
            return
        longest_V = np.zeros(len(logits_V), dtype=np.int64)
        np.maximum.at(longest_V, self._ids[places + 1], lengths)
        tokens = np.flatnonzero(longest_V)
        if self._breakers is not None:
            named = [not self._breakers.holds(int(token_id)) for token_id in tokens]
            tokens = tokens[named]
        powers = (longest_V[tokens] - params.dry_allowed_length).astype(np.float64)
        with np.errstate(over="ignore"):
            penalties = params.dry_multiplier * np.power(params.dry_base, powers)
        logits_V[tokens] -= np.minimum(penalties, _MAX_PENALTY)

    def _read(self, token_id: int) -> None:
        broken = self._breakers is not None and self._breakers.read(token_id)
        self._unbroken = 0 if broken else self._unbroken + 1


def suffix_matches(ids: Sequence[int]) -> list[int]:
    """For each position but the last: on how many tokens back from it ids agrees with its end.

    The Z-algorithm (Gusfield, Algorithms on Strings, 1997) on the reversed sequence; O(n). The last
    position has 0.
    """
    reverse = list(reversed(ids))
    count = len(reverse)
    matches = [0] * count
    left = right = 0
    for i in range(1, count):
        length = min(right - i, matches[i - left]) if i < right else 0
        while i + length < count and reverse[length] == reverse[i + length]:
            length += 1
        matches[i] = length
        if i + length > right:
            left, right = i, i + length
    return matches[::-1]
