"""A step's logits, brought to the host in the cheapest form that serves all its requests.

They stay on the device where they can: all-greedy steps take the device's argmax, steps whose
requests keep at most 64 tokens take its top-k, others copy whole rows. The tokens chosen are the
same whichever way a step goes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.sampling.ranking import logsumexp
from cl_llama.engine.sampling.sampler import Choice, Sampler
from cl_llama.models.batch import Logits


class StepLogits:
    """A step's logits, brought to the host in the cheapest form that serves all its samplers."""

    def __init__(
        self,
        logits: Logits,
        samplers: Sequence[Sampler],
        *,
        whole: bool = False,
        targets_R: NDArray[np.int32] | None = None,
    ) -> None:
        """Read the device once. `whole`: the caller wants `rows`, too; targets_R: `logprobs`."""
        needs = [sampler.needs for sampler in samplers]
        largest = max((need or 0 for need in needs), default=0)
        self._logsumexp_R: NDArray[np.float32] | None = None
        self._argmax_R: NDArray[np.int32] | None = None
        self._logits_RV: NDArray[np.float32] | None = None
        self._targets_R = targets_R
        if whole or None in needs:
            self._logits_RV = logits.numpy()
            return
        scored = any(sampler.params.logprobs is not None for sampler in samplers)
        if largest == 1 and not scored:
            self._argmax_R = logits.argmax()
        elif largest:
            self._values_Rk, self._ids_Rk = logits.top_k(largest)
        if scored or targets_R is not None:
            self._logsumexp_R = logits.logsumexp()
        if targets_R is not None:
            self._target_logits_R = logits.at(targets_R)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """A copy of rows [start, stop), float32 [stop - start, V]."""
        assert self._logits_RV is not None
        return self._logits_RV[start:stop].copy()

    def logprobs(self, start: int, stop: int) -> NDArray[np.float32]:
        """The log-probabilities of the targets of rows [start, stop), float32 [stop - start]."""
        assert self._targets_R is not None
        if self._logits_RV is not None:
            pairs = zip(self._logits_RV[start:stop], self._targets_R[start:stop], strict=True)
            return np.array([row_V[i] - logsumexp(row_V) for row_V, i in pairs], np.float32)
        assert self._logsumexp_R is not None
        logprobs: NDArray[np.float32] = self._target_logits_R - self._logsumexp_R
        return logprobs[start:stop]

    def choose(self, row: int, sampler: Sampler) -> Choice:
        """The sampler's next token from this row; RequestError or DeviceError if there is none."""
        if self._logits_RV is not None:
            return sampler.choose_from_row(self._logits_RV[row])
        if self._argmax_R is not None:
            return sampler.accept(int(self._argmax_R[row]))
        norm = None if self._logsumexp_R is None else float(self._logsumexp_R[row])
        return sampler.choose_from_top(self._values_Rk[row], self._ids_Rk[row], norm)
