"""One request's choices, step after step."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling.draw import draw, probabilities, temperature_for, within_sigmas
from cl_llama.engine.sampling.dry import Breakers, Dry
from cl_llama.engine.sampling.mirostat import Mirostat
from cl_llama.engine.sampling.penalties import Penalties
from cl_llama.engine.sampling.random_numbers import DRAW, XTC_COIN, uniform
from cl_llama.engine.sampling.ranking import Floats, Ids, logsumexp, select_top
from cl_llama.errors import ClLlamaError, DeviceError, RequestError

MAX_DEVICE_TOP_K = 64
"""The largest k that `Logits.top_k` takes."""

_BAD_LOGITS = (
    "the model's logits hold NaN or infinity: its weights are damaged, or a kernel computes "
    "wrongly on this device"
)

LogitMask: TypeAlias = Callable[[Sequence[int]], NDArray[np.bool_] | None]
"""Maps the ids generated so far to a bool [V]: which tokens may come next. None: any."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token and, where the request asked for them, the model's log-probabilities."""

    token_id: int
    probability: float = 1.0
    """With which the settings chose it: after penalties, temperature and all cuts; greedy: 1."""
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    """The likeliest (token id, log-probability), best first."""
    logits_V: NDArray[np.float32] | None = field(default=None, compare=False)
    """The model's own, if `SamplingParams.logits` asks for them."""


class Sampler:
    """One request's choices, step after step."""

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Sequence[int],
        vocab_size: int,
        logit_mask: LogitMask | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        """A sampler before its first step. Ids in `params` must be below `vocab_size`."""
        self.params = params
        self.generated: list[int] = []
        self._vocab_size = vocab_size
        self._logit_mask = logit_mask
        self._seed = secrets.randbits(64) if params.seed is None else params.seed % 2**64
        self._penalties: list[Penalties | Dry] = []
        if params.penalises:
            self._penalties.append(Penalties(params, prompt_ids, vocab_size))
        if params.penalises_repeats:
            self._penalties.append(Dry(params, prompt_ids, breakers))
        self._mirostat: Mirostat | None = None
        if params.mirostat:
            self._mirostat = Mirostat(params.mirostat_tau, params.mirostat_eta)
        if params.logit_bias:
            self._bias_ids = np.fromiter(params.logit_bias.keys(), dtype=np.intp)
            self._biases = np.fromiter(params.logit_bias.values(), dtype=np.float64)

    @property
    def needs(self) -> int | None:
        """How many of the largest logits decide the next token; None: whole rows are needed."""
        params = self.params
        if self._penalties or params.logit_bias or self._logit_mask is not None or params.logits:
            return None
        needs = 1
        if params.temperature != 0.0:
            if self._mirostat is not None or params.top_n_sigma:
                return None
            if not 1 <= params.top_k <= MAX_DEVICE_TOP_K:
                return None
            needs = params.top_k
        needs = min(max(needs, params.logprobs or 1), self._vocab_size)
        return needs if needs <= MAX_DEVICE_TOP_K else None

    def accept(self, token_id: int) -> Choice:
        """Take the device's argmax for the next token."""
        if not 0 <= token_id < self._vocab_size:
            raise DeviceError(_BAD_LOGITS)
        return self._record(Choice(token_id))

    def choose_from_top(self, values_k: Floats, ids_k: Ids, norm: float | None) -> Choice:
        """Choose given the row's largest logits, descending, `needs` of them or more.

        norm: the log of the sum of exp of the whole row; None: no log-probabilities are wanted.
        """
        _check_row(values_k)
        params = self.params
        index, probability = 0, 1.0
        if params.temperature != 0.0:
            index, probability = self._draw(values_k[: params.top_k])
        token_id = int(ids_k[index])
        if params.logprobs is None or norm is None:
            return self._record(Choice(token_id, probability))
        top = _top_logprobs(values_k[: params.logprobs], ids_k[: params.logprobs], norm)
        return self._record(Choice(token_id, probability, float(values_k[index]) - norm, top))

    def choose_from_row(self, logits_V: NDArray[np.float32]) -> Choice:
        """Choose given the whole row of logits."""
        _check_row(logits_V)
        token_id, probability = self._choose(*self._allowed(self._penalised(logits_V)))
        kept_V = logits_V.copy() if self.params.logits else None
        if self.params.logprobs is None:
            return self._record(Choice(token_id, probability, logits_V=kept_V))
        norm = logsumexp(logits_V)
        top = _top_logprobs(*select_top(logits_V, self.params.logprobs), norm)
        logprob = float(logits_V[token_id]) - norm
        return self._record(Choice(token_id, probability, logprob, top, kept_V))

    def _choose(self, logits_N: Floats, ids_N: Ids | None) -> tuple[int, float]:
        """The next token and its probability; ids_N: the logits' tokens, None: all in order."""
        params = self.params

        def keep(indices: Ids) -> None:
            nonlocal logits_N, ids_N
            logits_N = logits_N[indices]
            ids_N = indices if ids_N is None else ids_N[indices]

        if params.temperature == 0.0:
            index, probability = int(logits_N.argmax()), 1.0
        elif self._mirostat is not None:
            p_N = probabilities(logits_N, temperature_for(logits_N, params))
            index, probability = self._mirostat.draw(p_N, self._random(DRAW))
        else:
            if params.top_n_sigma:
                keep(within_sigmas(logits_N, params.top_n_sigma))
            if params.top_k:
                keep(select_top(logits_N, params.top_k)[1])
            index, probability = self._draw(logits_N)
        return (index if ids_N is None else int(ids_N[index])), probability

    def _draw(self, logits_N: Floats) -> tuple[int, float]:
        coin = self._random(XTC_COIN) if self.params.xtc_probability else 1.0
        return draw(logits_N, self.params, self._random(DRAW), coin)

    def _random(self, use: int) -> float:
        return uniform(self._seed, len(self.generated), use)

    def _record(self, choice: Choice) -> Choice:
        self.generated.append(choice.token_id)
        for penalty in self._penalties:
            penalty.record(choice.token_id)
        return choice

    def _penalised(self, logits_V: NDArray[np.float32]) -> Floats:
        """The logits after penalties and bias; the argument itself if there are none."""
        if not self._penalties and not self.params.logit_bias:
            return logits_V
        changed_V = logits_V.astype(np.float64)
        for penalty in self._penalties:
            penalty.apply(changed_V)
        if self.params.logit_bias:
            changed_V[self._bias_ids] += self._biases
        return changed_V

    def _allowed(self, logits_V: Floats) -> tuple[Floats, Ids | None]:
        """The logits of the tokens that the mask allows, and which they are; None: all."""
        allowed_V = None if self._logit_mask is None else self._ask(self._logit_mask)
        if allowed_V is None:
            return logits_V, None
        ids_N = np.flatnonzero(allowed_V)
        logits_N = logits_V[ids_N]
        if len(ids_N) == 0 or logits_N.max() == -np.inf:
            raise RequestError("logit_mask allows no token at all")
        return logits_N, ids_N

    def _ask(self, logit_mask: LogitMask) -> NDArray[np.bool_] | None:
        try:
            allowed_V = logit_mask(tuple(self.generated))
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


def _check_row(logits: Floats) -> None:
    # The largest is NaN if any is; a comparison with NaN is false.
    if not np.isfinite(logits.max()):
        raise DeviceError(_BAD_LOGITS)


def _top_logprobs(values: Floats, ids: Ids, norm: float) -> tuple[tuple[int, float], ...]:
    return tuple(
        (int(token_id), float(value) - norm) for value, token_id in zip(values, ids, strict=True)
    )
