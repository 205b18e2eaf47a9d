"""How far a model's predictions are from a base model's, token by token.

KL(base || model) = sum over v of p_base(v) (ln p_base(v) - ln p_model(v)), in nats.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.perplexity.statistics import Mean, Perplexity, log_softmax

_CUT = 15.99
"""Rows of a file that reach this far were cut off there: of their least likely tokens it says no
more than that."""


@dataclass
class Divergence:
    """What was found of the tokens so far."""

    perplexity: Perplexity = field(default_factory=Perplexity)
    base_perplexity: Perplexity = field(default_factory=Perplexity)
    log_ratio: Mean = field(default_factory=Mean)
    """Of ln(perplexity / base's): the two see the same tokens, so its error is small."""
    kl: Mean = field(default_factory=Mean)
    agreement: Mean = field(default_factory=Mean)
    """1 where the model's likeliest token is the base's, or is as likely there; else 0."""
    each: list[NDArray[np.float64]] = field(default_factory=list)
    """The divergences of all tokens, in portions."""

    def add(
        self,
        logits_NV: NDArray[np.float32],
        base_NV: NDArray[np.float64],
        targets_N: NDArray[np.int32],
    ) -> None:
        """Take some tokens in: the model's logits, the base's log-probabilities, what came."""
        logprobs_NV = log_softmax(logits_NV)
        own_N = np.take_along_axis(logprobs_NV, targets_N[:, None], axis=1)[:, 0]
        base_N = np.take_along_axis(base_NV, targets_N[:, None], axis=1)[:, 0]
        kl_N = kl_divergence(logprobs_NV, base_NV)
        self.perplexity.add(own_N)
        self.base_perplexity.add(base_N)
        self.log_ratio.add(base_N - own_N)
        self.kl.add(kl_N)
        self.each.append(kl_N)
        likeliest_N1 = logprobs_NV.argmax(axis=1)[:, None]
        same_N = np.take_along_axis(base_NV, likeliest_N1, axis=1)[:, 0] == base_NV.max(axis=1)
        self.agreement.add(same_N.astype(np.float64))

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        each = np.concatenate(self.each)
        median, p90, p99, highest = np.quantile(each, (0.5, 0.9, 0.99, 1.0)).tolist()
        return {
            "perplexity": self.perplexity.value,
            "perplexity_error": self.perplexity.error,
            "base_perplexity": self.base_perplexity.value,
            "base_perplexity_error": self.base_perplexity.error,
            "log_perplexity_ratio": self.log_ratio.mean,
            "log_perplexity_ratio_error": self.log_ratio.error,
            "kl_divergence": self.kl.mean,
            "kl_divergence_error": self.kl.error,
            "kl_divergence_median": median,
            "kl_divergence_p90": p90,
            "kl_divergence_p99": p99,
            "kl_divergence_max": highest,
            "top_1_agreement": self.agreement.mean,
            "top_1_agreement_error": self.agreement.error,
        }


def kl_divergence(
    logprobs_NV: NDArray[np.float64], base_NV: NDArray[np.float64]
) -> NDArray[np.float64]:
    """KL(base || model) of each row [N].

    The base's probabilities are rounded in their file: they are made to sum to 1 again, which
    leaves of a model's divergence from itself the square of the rounding.
    """
    lowest_N1 = base_NV.min(axis=1, keepdims=True)
    is_cut_N1 = base_NV.max(axis=1, keepdims=True) - lowest_N1 >= _CUT
    p_NV = np.exp(base_NV)
    p_NV[is_cut_N1 & (base_NV == lowest_N1)] = 0.0
    total_N = p_NV.sum(axis=1)
    kl_N: NDArray[np.float64] = (p_NV * (base_NV - logprobs_NV)).sum(axis=1) / total_N
    kl_N -= np.log(total_N)
    return kl_N
