"""Log-probabilities, and running means with their standard errors, in float64."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


def log_softmax(logits_NV: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each row's log-probabilities [N, V]."""
    logprobs_NV = logits_NV.astype(np.float64)
    logprobs_NV -= logprobs_NV.max(axis=1, keepdims=True)
    logprobs_NV -= np.log(np.exp(logprobs_NV).sum(axis=1, keepdims=True))
    return logprobs_NV


@dataclass
class Mean:
    """Of values that come in portions."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Take a portion in."""
        self.count += len(values)
        self.total += float(values.sum())
        self.squares += float(np.square(values).sum())

    @property
    def mean(self) -> float:
        """NaN while there is no value."""
        return self.total / self.count if self.count else math.nan

    @property
    def error(self) -> float:
        """The mean's standard error, if values do not depend on each other; 0 of fewer than 2."""
        if self.count < 2:
            return 0.0
        variance = self.squares / self.count - self.mean**2
        return math.sqrt(max(0.0, variance) / (self.count - 1))


@dataclass
class Perplexity:
    """exp of the mean negative log-probability of the tokens seen."""

    nll: Mean = field(default_factory=Mean)

    def add(self, logprobs: NDArray[np.float64]) -> None:
        """Take the log-probabilities of some tokens in."""
        self.nll.add(-logprobs)

    @property
    def value(self) -> float:
        """The perplexity; infinite where a token was impossible."""
        return _exp(self.nll.mean)

    @property
    def error(self) -> float:
        """Its standard error, to first order."""
        return self.value * self.nll.error


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
