"""From logits to one drawn token: temperature, cuts, draw.

Sources: dynamic temperature by entropy: llama.cpp's `temp-ext`; top-n-sigma: arXiv 2411.07641;
typical-p: arXiv 2202.00666; top-p: arXiv 1904.09751; min-p: arXiv 2407.01082; XTC:
text-generation-webui's and llama.cpp's.
"""

import math
import sys

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling.ranking import Floats, Ids, select_top

_MIN_TEMPERATURE = 1e-9  # where a dynamic one comes down to 0
_FIRST_SORTED = 256


def draw(
    logits_N: Floats, params: SamplingParams, uniform: float, coin: float = 1.0
) -> tuple[int, float]:
    """Index of the token that `uniform` in [0, 1) picks, and its probability after all cuts.

    logits_N: what top-n-sigma and top-k have left. coin in [0, 1): XTC cuts if it is below
    `xtc_probability`.
    """
    p_N = probabilities(logits_N, temperature_for(logits_N, params))
    kept: Ids = np.arange(len(p_N))
    if params.typical_p < 1.0:
        kept = typical(p_N, params.typical_p)
    if params.top_p < 1.0:
        kept = kept[nucleus(_among(p_N, kept), params.top_p)]
    if params.min_p > 0.0:
        kept = kept[p_N[kept] >= params.min_p * float(p_N[kept].max())]
    if coin < params.xtc_probability:
        kept = kept[without_top_choices(_among(p_N, kept), params.xtc_threshold)]
    position, probability = pick(p_N[kept], uniform)
    return int(kept[position]), probability


def within_sigmas(logits_N: Floats, n: float) -> NDArray[np.intp]:
    """Indices of the logits at most n standard deviations of all of them below the largest."""
    values_N = logits_N.astype(np.float64)
    sigma = float(values_N[np.isfinite(values_N)].std())
    return np.flatnonzero(values_N >= float(values_N.max()) - n * sigma)


def temperature_for(logits_N: Floats, params: SamplingParams) -> float:
    """The temperature, between its bounds by the entropy of the tokens, if there are bounds.

    A certain model gets the lower one, `temperature - dynatemp_range`, one that finds all N tokens
    alike the upper one.
    """
    if params.dynatemp_range == 0.0 or len(logits_N) < 2:
        return params.temperature
    p_N = probabilities(logits_N, 1.0)
    evenness = float((p_N * _surprise(p_N)).sum()) / math.log(len(p_N))
    low = max(0.0, params.temperature - params.dynatemp_range)
    high = min(params.temperature + params.dynatemp_range, sys.float_info.max)
    share = math.pow(min(1.0, max(0.0, evenness)), params.dynatemp_exponent)
    return max(low + (high - low) * share, _MIN_TEMPERATURE)


def probabilities(logits_N: Floats, temperature: float) -> NDArray[np.float64]:
    """The softmax of the logits over the temperature, which is above 0."""
    with np.errstate(over="ignore"):  # a tiny temperature: -inf is what is meant
        scaled_N = (logits_N.astype(np.float64) - float(logits_N.max())) / temperature
    p_N = np.exp(scaled_N)
    p_N /= p_N.sum()
    return p_N


def typical(p_N: NDArray[np.float64], mass: float) -> Ids:
    """The fewest tokens that reach `mass`, those first whose surprise is nearest to the entropy."""
    surprise_N = _surprise(p_N)
    strangeness_N = np.abs(surprise_N - float((p_N * surprise_N).sum()))
    return np.sort(_fewest_reaching(mass, p_N, -strangeness_N))


def nucleus(p_N: NDArray[np.float64], mass: float) -> Ids:
    """The fewest likeliest tokens that reach `mass`, the likeliest first."""
    # Tokens below this threshold sum to less than 1 - mass.
    threshold = min((1.0 - mass) / len(p_N), float(p_N.max()))
    kept = np.flatnonzero(p_N >= threshold)
    return kept[_fewest_reaching(mass, p_N[kept], p_N[kept])]


def without_top_choices(p_N: NDArray[np.float64], threshold: float) -> NDArray[np.intp]:
    """All tokens but those of at least `threshold`, of which the least likely one stays."""
    top = (p_N >= threshold) & (p_N > 0.0)
    if top.any():
        choices = np.flatnonzero(top)[::-1]  # of equal ones the last stays
        top[choices[p_N[choices].argmin()]] = False
    return np.flatnonzero(~top)


def pick(p_N: NDArray[np.float64], uniform: float) -> tuple[int, float]:
    """The index that `uniform` falls on, and its share of the sum of p_N, not 0."""
    cumulated = np.cumsum(p_N)
    # `uniform` is at most 1 - 2**-53, so the product rounds below the sum: the index exists, and
    # side="right" skips tokens of probability 0.
    index = int(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"))
    return index, min(1.0, float(p_N[index] / cumulated[-1]))


def _among(p_N: NDArray[np.float64], kept: Ids) -> NDArray[np.float64]:
    """The probabilities of the tokens that are left, 1 together."""
    return p_N if len(kept) == len(p_N) else p_N[kept] / p_N[kept].sum()


def _fewest_reaching(mass: float, p_N: NDArray[np.float64], scores_N: NDArray[np.float64]) -> Ids:
    """The tokens of the highest scores, best first, up to the one with which they reach `mass`."""
    count = _FIRST_SORTED
    while True:
        order = select_top(scores_N, count)[1]
        reached = int(np.searchsorted(np.cumsum(p_N[order]), mass))
        if reached < len(order) or count >= len(p_N):
            return order[: reached + 1]
        count *= 8  # hardly any text needs them: sorting all takes long


def _surprise(p_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """-ln p, at most 708."""
    surprise_N: NDArray[np.float64] = -np.log(np.maximum(p_N, np.finfo(np.float64).tiny))
    return surprise_N
