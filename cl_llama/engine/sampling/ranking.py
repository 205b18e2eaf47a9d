"""The largest of many values."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating]
Ids: TypeAlias = NDArray[np.integer]


def select_top(values_V: Floats, k: int) -> tuple[Floats, Ids]:
    """The k largest values, descending, and their ids; of equal ones the lower id comes first."""
    k = min(k, len(values_V))
    if k == 0:
        return values_V[:0], np.empty(0, dtype=np.intp)
    smallest_kept = np.partition(values_V, len(values_V) - k)[len(values_V) - k]
    above = np.flatnonzero(values_V > smallest_kept)
    equal = np.flatnonzero(values_V == smallest_kept)[: k - len(above)]
    ids = np.concatenate([above[np.argsort(-values_V[above], kind="stable")], equal])
    return values_V[ids], ids


def logsumexp(logits_V: NDArray[np.float32]) -> float:
    """Log of the sum of exp, in float64."""
    largest = float(logits_V.max())
    return largest + float(np.log(np.exp(logits_V.astype(np.float64) - largest).sum()))
