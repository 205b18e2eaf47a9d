"""Searches the values of kernel parameters that are fastest on a device."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.bench.tuner_trial import Trial
from cl_llama.errors import ClLlamaError
from cl_llama.opencl.runtime import Runtime
from cl_llama.opencl.tuning import Parameter, Values, value

logger = logging.getLogger(__name__)

MARGIN = 0.03
"""A value has to be faster by so much than the one in use to take its place."""
TOLERANCE = 5e-5
"""Relative RMS difference of results that still counts as rounding: the bound of `high`."""
_ROUNDS = 9
_FIRST_ROUNDS = 3
"""A value that has not been faster in most of so many is not measured any longer."""


@dataclass(frozen=True)
class Found:
    """What the search says of a parameter.

    Attributes:
        parameter: which.
        best: the value that stays.
        default_seconds: of a run with the default.
        best_seconds: of one with the best value.
        notes: values that could not win, and why: wrong results, failures, no time left.
    """

    parameter: Parameter
    best: int
    default_seconds: float
    best_seconds: float
    notes: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """How much faster the best value is than the default, 0 for none."""
        return self.default_seconds / self.best_seconds - 1


class _NoTimeError(Exception):
    """A parameter's share of the budget is spent."""


class _Consulted(dict[str, int]):
    """Values that note which of them are asked for."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """The value, noting the name."""
        self.names.add(name)
        return super().get(name, default)


def tune(
    runtime: Runtime,
    parameters: Sequence[Parameter],
    trial: Trial,
    *,
    budget: float,
    on_step: Callable[[str], None] | None = None,
) -> list[Found]:
    """Try each value of each parameter in turn, with the best of those before it in use.

    A value whose results differ from the default's by more than rounding cannot win, nor one that
    fails. What the device's kernels do not ask for, as where a matrix unit takes the work, is left
    out. `runtime.tuning` holds the best values afterwards.

    Args:
        runtime: the device; nothing else may use it meanwhile.
        parameters: what to search.
        trial: what is timed.
        budget: seconds; a parameter gets an equal share of what those before it have left.
        on_step: called for each value that is not a default, with a few words.
    """
    found = []
    end = time.monotonic() + budget
    for i, parameter in enumerate(parameters):
        now = time.monotonic()
        search = _Search(runtime, parameter, trial, now + (end - now) / (len(parameters) - i))
        outcome = search.outcome(on_step or (lambda _: None))
        if outcome is not None:
            found.append(outcome)
    return found


class _Search:
    """The search for one parameter's value, until a time of the monotonic clock."""

    def __init__(
        self, runtime: Runtime, parameter: Parameter, trial: Trial, deadline: float
    ) -> None:
        self._runtime = runtime
        self._parameter = parameter
        self._trial = trial
        self._deadline = deadline
        self._default_seconds = float("inf")
        self._notes: list[str] = []

    def outcome(self, on_step: Callable[[str], None]) -> Found | None:
        """The best value, which `runtime.tuning` then holds; None where none is asked for."""
        parameter, name = self._parameter, self._parameter.name
        candidates = [v for v in parameter.values if v != parameter.default]
        plain = self._runtime.tuning
        plain.pop(name, None)
        self._runtime.tuning = consulted = _Consulted(plain)
        try:
            expected = self._trial.results(parameter)
        finally:
            self._runtime.tuning = plain
        if name not in consulted.names:
            for candidate in candidates:
                on_step(f"{name} = {candidate}")
            return None
        self._default_seconds = self._trial.run(parameter)
        best, ratio = parameter.default, 1.0
        for candidate in candidates:
            on_step(f"{name} = {candidate}")
            share = self._share(candidate, expected)
            if share < ratio - MARGIN:
                best, ratio = candidate, share
        if best != parameter.default:  # the luckiest of several may owe it to chance
            ratio = self._share(best, expected)
            if ratio > 1 - MARGIN:
                best, ratio = parameter.default, 1.0
        plain[name] = best
        seconds = self._default_seconds
        return Found(parameter, best, seconds, seconds * ratio, tuple(self._notes))

    def _share(self, candidate: int, expected: Sequence[NDArray[np.float32]]) -> float:
        """The candidate's share of the default's time; infinite, with a note, if it cannot win."""
        name = self._parameter.name
        reason = "results differ from the default's"
        try:
            self._look_at_the_time()
            self._runtime.tuning[name] = candidate
            if _agree(self._trial.results(self._parameter), expected):
                share = self._compare(candidate)
                logger.debug("%s = %s: %.3f of the default's time", name, candidate, share)
                return share
        except _NoTimeError:
            reason = "no time left"
        except ClLlamaError as error:
            reason = str(error).strip().splitlines()[0]
            logger.debug("%s = %s: %s", name, candidate, error)
        self._notes.append(f"{name} = {candidate}: {reason}")
        return float("inf")

    def _compare(self, candidate: int) -> float:
        """The share in all but the worst rounds, or in most of the first if those are slower.

        The runs take turns, as the speed of a shared machine drifts, and in being the first.
        """
        pair = [self._parameter.default, candidate]
        ratios: list[float] = []
        while len(ratios) < _ROUNDS:
            self._look_at_the_time()
            seconds = {tried: self._timed(tried) for tried in pair}
            pair.reverse()
            ratios.append(seconds[candidate] / seconds[self._parameter.default])
            self._default_seconds = min(self._default_seconds, seconds[self._parameter.default])
            if len(ratios) == _FIRST_ROUNDS and sorted(ratios)[_FIRST_ROUNDS // 2] >= 1:
                return sorted(ratios)[_FIRST_ROUNDS // 2]
        return sorted(ratios)[_ROUNDS * 3 // 4]

    def _timed(self, tried: int) -> float:
        self._runtime.tuning[self._parameter.name] = tried
        return self._trial.run(self._parameter)

    def _look_at_the_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise _NoTimeError


def _agree(actual: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]) -> bool:
    """Whether results differ by rounding only; NaN does not."""
    for a, e in zip(actual, expected, strict=True):
        error = float(np.sqrt(np.mean(np.square(a.astype(np.float64) - e))))
        if not error <= TOLERANCE * float(np.sqrt(np.mean(np.square(e.astype(np.float64))))):
            return False
    return True


def chosen(values: Values, parameters: Sequence[Parameter]) -> Values:
    """The values that differ from the defaults."""
    return {p.name: value(values, p) for p in parameters if value(values, p) != p.default}
