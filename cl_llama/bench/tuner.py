"""Searches the values of kernel parameters that are fastest on a device."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cl_llama import ops
from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.opencl.tuning import Parameter, Values, value

MARGIN = 0.02
"""A value has to be faster by so much than the one in use to take its place."""
TOLERANCE = 5e-5
"""Relative RMS difference of results that still counts as rounding: the bound of `high`."""
_WIDTH, _ROWS = 2048, 5632
_MATRICES = 8
"""Of 23 MB each: more than caches hold."""
_ROUNDS = 9


@dataclass(frozen=True)
class Found:
    """What the search says of a parameter: seconds of its micro-bench by default and at best."""

    parameter: Parameter
    best: int
    default_seconds: float
    best_seconds: float

    @property
    def gain(self) -> float:
        """How much faster the best value is than the default, 0 for none."""
        return self.default_seconds / self.best_seconds - 1


class Trial(Protocol):
    """What is timed."""

    def run(self, rows: Sequence[int]) -> float:
        """Seconds."""

    def results(self, rows: Sequence[int]) -> list[NDArray[np.float32]]:
        """What it computes."""


class MatmulTrial:
    """Times products of random activations with random matrices that no cache holds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._weights = []
        for seed in range(_MATRICES):
            matrix = runtime.empty((_ROWS, _WIDTH), np.float16)
            ops.fill_random(matrix, seed, 0.02)
            segment = ops.Segment(matrix.buffer, 0, _WIDTH, 0, _ROWS)
            self._weights.append(ops.Weight(runtime, (segment,), _ROWS, _WIDTH))

    def run(self, rows: Sequence[int]) -> float:
        """Seconds of all matrices meeting each number of rows in turn."""
        batches = [self._arrays(count) for count in rows]
        self._runtime.finish()
        began = time.perf_counter()
        for x_TD, out_TN in batches:
            for weight in self._weights:
                ops.matmul(x_TD, weight, out_TN)
        self._runtime.finish()
        return time.perf_counter() - began

    def results(self, rows: Sequence[int]) -> list[NDArray[np.float32]]:
        """What the first matrix makes of each number of rows."""
        found = []
        for count in rows:
            x_TD, out_TN = self._arrays(count)
            ops.matmul(x_TD, self._weights[0], out_TN)
            found.append(out_TN.numpy())
        return found

    def _arrays(self, count: int) -> tuple[DeviceArray, DeviceArray]:
        x_TD = np.random.default_rng(count).standard_normal((count, _WIDTH)).astype(np.float32)
        return self._runtime.from_numpy(x_TD), self._runtime.empty((count, _ROWS), np.float32)


def tune(
    runtime: Runtime,
    parameters: Sequence[Parameter],
    trial: Trial,
    on_step: Callable[[str], None] | None = None,
) -> list[Found]:
    """Try each value of each parameter in turn, with the best of those before it in use.

    A value whose results differ from the default's by more than rounding cannot win, nor one that
    fails. `runtime.tuning` holds the best values afterwards.

    Args:
        runtime: the device; nothing else may use it meanwhile.
        parameters: what to search.
        trial: what is timed.
        on_step: called before each value with a few words.
    """
    found = []
    for parameter in parameters:
        runtime.tuning.pop(parameter.name, None)
        expected = trial.results(parameter.rows)
        best, ratios = parameter.default, {parameter.default: 1.0}
        default_seconds = trial.run(parameter.rows)
        for candidate in parameter.values:
            if candidate == parameter.default:
                continue
            if on_step is not None:
                on_step(f"{parameter.name} = {candidate}")
            runtime.tuning[parameter.name] = candidate
            if not _agree(trial.results(parameter.rows), expected):
                continue
            seconds, ratios[candidate] = _compare(runtime, parameter, candidate, trial)
            default_seconds = min(default_seconds, seconds)
            if ratios[candidate] < ratios[best] - MARGIN:
                best = candidate
        if best != parameter.default:  # the luckiest of several may owe it to chance
            _, ratios[best] = _compare(runtime, parameter, best, trial)
            if ratios[best] > 1 - MARGIN:
                best = parameter.default
        runtime.tuning[parameter.name] = best
        found.append(Found(parameter, best, default_seconds, default_seconds * ratios[best]))
    return found


def _compare(
    runtime: Runtime, parameter: Parameter, candidate: int, trial: Trial
) -> tuple[float, float]:
    """Seconds with the default, and the candidate's share of them in all but the worst rounds.

    The runs alternate, as the speed of a shared machine drifts.
    """
    plain, ratios = [], []
    for _ in range(_ROUNDS):
        runtime.tuning[parameter.name] = parameter.default
        plain.append(trial.run(parameter.rows))
        runtime.tuning[parameter.name] = candidate
        ratios.append(trial.run(parameter.rows) / plain[-1])
    return min(plain), sorted(ratios)[_ROUNDS * 3 // 4]


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
