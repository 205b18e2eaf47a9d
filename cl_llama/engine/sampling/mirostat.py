"""Mirostat 2 (arXiv 2007.14966): cuts so that the text's surprise stays near a target."""

import math

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.sampling.draw import pick

_FARTHEST = 1e300  # finite, so that it comes back


class Mirostat:
    """One request's bound of surprise, corrected after every token.

    A token's surprise, -log2 p, is that among the tokens that are left, as in llama.cpp.
    """

    def __init__(self, tau: float, eta: float) -> None:
        """tau: the surprise aimed at, in bits; eta: how much of an error is corrected at once."""
        self._tau = tau
        self._eta = eta
        self._bound = min(2.0 * tau, _FARTHEST)

    def draw(self, p_N: NDArray[np.float64], uniform: float) -> tuple[int, float]:
        """Index and probability of the token that `uniform` in [0, 1) picks within the bound."""
        least = 1.0 if self._bound <= 0.0 else 2.0**-self._bound
        kept = np.flatnonzero(p_N >= min(least, float(p_N.max())))
        position, probability = pick(p_N[kept], uniform)
        bound = self._bound - self._eta * (-math.log2(probability) - self._tau)
        self._bound = min(max(bound, -_FARTHEST), _FARTHEST)
        return int(kept[position]), probability
