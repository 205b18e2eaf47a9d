"""Choosing a token from logits, in NumPy, and reading no more of them than the choice needs.

A step's logits stay on the device where they can: all-greedy steps take the device's argmax, steps
whose requests keep at most 64 tokens take its top-k, others copy whole rows. The tokens chosen are
the same whichever way a step goes.

Sources: repetition penalty: CTRL (arXiv 1909.05858) as Hugging Face and llama.cpp apply it;
presence and frequency penalty: OpenAI's API; top-p: arXiv 1904.09751; min-p: arXiv 2407.01082;
draws: Philox (Salmon et al., SC 2011) with the seed as key and the step as counter, so a draw
depends on nothing else.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.params import SamplingParams
from cl_llama.errors import ClLlamaError, DeviceError, RequestError
from cl_llama.models.batch import Logits

__all__ = ["Choice", "LogitMask", "Sampler", "SamplingParams", "StepLogits"]

MAX_DEVICE_TOP_K = 64
"""The largest k that `Logits.top_k` takes."""

_BAD_LOGITS = (
    "the model's logits hold NaN or infinity: its weights are damaged, or a kernel computes "
    "wrongly on this device"
)

LogitMask: TypeAlias = Callable[[Sequence[int]], NDArray[np.bool_] | None]
"""Maps the ids generated so far to a bool [V]: which tokens may come next. None: any."""

_Floats: TypeAlias = NDArray[np.floating]
_Ids: TypeAlias = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token and, where the request asked for them, the model's log-probabilities."""

    token_id: int
    probability: float = 1.0
    """With which the settings chose it: after penalties, temperature and all cuts; greedy: 1."""
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest (token id, log-probability), best first."""


class Sampler:
    """One request's choices, step after step."""

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Sequence[int],
        vocab_size: int,
        logit_mask: LogitMask | None = None,
    ) -> None:
        """A sampler before its first step. Ids in `params` must be below `vocab_size`."""
        self.params = params
        self.generated: list[int] = []
        self._vocab_size = vocab_size
        self._logit_mask = logit_mask
        self._seed = secrets.randbits(64) if params.seed is None else params.seed % 2**64
        if params.penalises:
            self._seen_V = np.zeros(vocab_size, dtype=np.bool_)
            self._seen_V[np.asarray(prompt_ids, dtype=np.intp)] = True
            self._counts_V = np.zeros(vocab_size, dtype=np.int32)
        if params.logit_bias:
            self._bias_ids = np.fromiter(params.logit_bias.keys(), dtype=np.intp)
            self._biases = np.fromiter(params.logit_bias.values(), dtype=np.float64)

    @property
    def needs(self) -> int | None:
        """How many of the largest logits decide the next token; None: whole rows are needed."""
        params = self.params
        if params.penalises or params.logit_bias or self._logit_mask is not None:
            return None
        if params.temperature != 0.0 and not 1 <= params.top_k <= MAX_DEVICE_TOP_K:
            return None
        needs = 1 if params.temperature == 0.0 else params.top_k
        needs = min(max(needs, params.logprobs or 1), self._vocab_size)
        return needs if needs <= MAX_DEVICE_TOP_K else None

    def accept(self, token_id: int) -> Choice:
        """Take the device's argmax for the next token."""
        if not 0 <= token_id < self._vocab_size:
            raise DeviceError(_BAD_LOGITS)
        return self._record(Choice(token_id))

    def choose_from_top(self, values_k: _Floats, ids_k: _Ids, logsumexp: float | None) -> Choice:
        """Choose given the row's largest logits, descending, `needs` of them or more."""
        _check_row(values_k)
        index, probability = 0, 1.0
        if self.params.temperature != 0.0:
            kept = self.params.top_k
            index, probability = draw(values_k[:kept], self.params, self._uniform())
        token_id = int(ids_k[index])
        if self.params.logprobs is None or logsumexp is None:
            return self._record(Choice(token_id, probability))
        shown = self.params.logprobs
        top = _top_logprobs(values_k[:shown], ids_k[:shown], logsumexp)
        logprob = float(values_k[index]) - logsumexp
        return self._record(Choice(token_id, probability, logprob, top))

    def choose_from_row(self, logits_V: NDArray[np.float32]) -> Choice:
        """Choose given the whole row of logits."""
        _check_row(logits_V)
        adjusted_V = self._adjust(logits_V)
        probability = 1.0
        if self.params.temperature == 0.0:
            token_id = int(adjusted_V.argmax())
        elif self.params.top_k:
            values_k, ids_k = select_top(adjusted_V, self.params.top_k)
            index, probability = draw(values_k, self.params, self._uniform())
            token_id = int(ids_k[index])
        else:
            token_id, probability = draw(adjusted_V, self.params, self._uniform())
        if self.params.logprobs is None:
            return self._record(Choice(token_id, probability))
        norm = _logsumexp(logits_V)
        top = _top_logprobs(*select_top(logits_V, self.params.logprobs), norm)
        logprob = float(logits_V[token_id]) - norm
        return self._record(Choice(token_id, probability, logprob, top))

    def _record(self, choice: Choice) -> Choice:
        self.generated.append(choice.token_id)
        if self.params.penalises:
            self._seen_V[choice.token_id] = True
            self._counts_V[choice.token_id] += 1
        return choice

    def _uniform(self) -> float:
        """The request's random number in [0, 1) for this step."""
        bits = np.random.Philox(key=self._seed, counter=len(self.generated)).random_raw()
        return float(int(bits) >> 11) * 2.0**-53

    def _adjust(self, logits_V: NDArray[np.float32]) -> _Floats:
        """The logits after penalties, bias and mask; the argument itself if there are none."""
        params = self.params
        adjusted_V: _Floats = logits_V
        if params.penalises or params.logit_bias:
            adjusted_V = logits_V.astype(np.float64)
        if params.penalises:
            seen = np.flatnonzero(self._seen_V)
            logits = adjusted_V[seen]
            penalty = params.repetition_penalty
            logits = np.where(logits > 0, logits / penalty, logits * penalty)
            counts = self._counts_V[seen]
            logits -= params.presence_penalty * (counts > 0) + params.frequency_penalty * counts
            adjusted_V[seen] = logits
        if params.logit_bias:
            adjusted_V[self._bias_ids] += self._biases
        if self._logit_mask is not None:
            allowed_V = self._allowed()
            if allowed_V is not None:
                adjusted_V = np.where(allowed_V, adjusted_V, -np.inf)
                if adjusted_V.max() == -np.inf:
                    raise RequestError("logit_mask allows no token at all")
        return adjusted_V

    def _allowed(self) -> NDArray[np.bool_] | None:
        assert self._logit_mask is not None
        try:
            allowed_V = self._logit_mask(tuple(self.generated))
        except ClLlamaError:
            raise
        except Exception as error:
            raise RequestError(f"logit_mask raised {type(error).__name__}: {error}") from error
        if allowed_V is None:
            return None
        allowed_V = np.asarray(allowed_V)
        if allowed_V.dtype != np.bool_ or allowed_V.shape != (self._vocab_size,):
            raise RequestError(
                f"logit_mask must return bool [{self._vocab_size}], "
                f"got {allowed_V.dtype} {list(allowed_V.shape)}"
            )
        return allowed_V


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
            return np.array([row_V[i] - _logsumexp(row_V) for row_V, i in pairs], np.float32)
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


def draw(logits_N: _Floats, params: SamplingParams, uniform: float) -> tuple[int, float]:
    """Index of the token that `uniform` in [0, 1) picks after temperature, top-p and min-p.

    With it comes its probability among the tokens that are left.
    """
    with np.errstate(over="ignore"):  # a tiny temperature: -inf is what is meant
        scaled_N = (logits_N.astype(np.float64) - float(logits_N.max())) / params.temperature
    p_N = np.exp(scaled_N)
    p_N /= p_N.sum()
    kept = np.arange(len(p_N))
    if params.top_p < 1.0:
        # Tokens below this threshold sum to less than 1 - top_p: only the others need sorting.
        threshold = min((1.0 - params.top_p) / len(p_N), float(p_N.max()))
        kept = np.flatnonzero(p_N >= threshold)
        kept = kept[np.argsort(-p_N[kept], kind="stable")]
        reached = np.searchsorted(np.cumsum(p_N[kept]), params.top_p)
        kept = kept[: int(reached) + 1]
    if params.min_p > 0.0:
        kept = kept[p_N[kept] >= params.min_p * float(p_N.max())]
    cumulated = np.cumsum(p_N[kept])
    # `uniform` is at most 1 - 2**-53, so the product rounds below the sum: the index exists, and
    # side="right" skips tokens of probability 0.
    target = uniform * cumulated[-1]
    index = int(kept[np.searchsorted(cumulated, target, side="right")])
    return index, min(1.0, float(p_N[index] / cumulated[-1]))


def select_top(values_V: _Floats, k: int) -> tuple[_Floats, _Ids]:
    """The k largest values, descending, and their ids; of equal ones the lower id comes first."""
    k = min(k, len(values_V))
    if k == 0:
        return values_V[:0], np.empty(0, dtype=np.intp)
    smallest_kept = np.partition(values_V, len(values_V) - k)[len(values_V) - k]
    above = np.flatnonzero(values_V > smallest_kept)
    equal = np.flatnonzero(values_V == smallest_kept)[: k - len(above)]
    ids = np.concatenate([above[np.argsort(-values_V[above], kind="stable")], equal])
    return values_V[ids], ids


def _check_row(logits: _Floats) -> None:
    # The largest is NaN if any is; a comparison with NaN is false.
    if not np.isfinite(logits.max()):
        raise DeviceError(_BAD_LOGITS)


def _logsumexp(logits_V: NDArray[np.float32]) -> float:
    largest = float(logits_V.max())
    return largest + float(np.log(np.exp(logits_V.astype(np.float64) - largest).sum()))


def _top_logprobs(values: _Floats, ids: _Ids, logsumexp: float) -> tuple[tuple[int, float], ...]:
    return tuple(
        (int(token_id), float(value) - logsumexp)
        for value, token_id in zip(values, ids, strict=True)
    )
