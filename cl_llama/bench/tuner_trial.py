"""What the tuner times: a gated network and attention, of sizes that models have."""

import itertools
import math
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cl_llama import ops
from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.opencl.tuning import Parameter

_WIDTH, _HIDDEN = 2048, 5632
_NETWORKS = 3
"""Of 69 MB each: more than caches hold."""
_HEADS, _KV_HEADS, _HEAD_DIM = 32, 8, 128
_CACHES = 4
_LONGEST = 4608
"""Positions of a cache, 19 MB."""
_SECONDS = 0.06
"""What a run aims at, in all its cases together."""
_MOST_REPEATS = 100

Enqueue = Callable[[int], None]
"""Queues the case once, on the data of a number."""


class Trial(Protocol):
    """What is timed."""

    def run(self, parameter: Parameter) -> float:
        """Seconds at the sizes where a parameter makes a difference."""

    def results(self, parameter: Parameter) -> list[NDArray[np.float32]]:
        """What is computed there."""


class _Workload(Protocol):
    def case(self, rows: int, context: int) -> tuple[Enqueue, Callable[[], NDArray[np.float32]]]:
        """A step of `rows` tokens at position `context`, and what it computes on data 0."""


class KernelTrial:
    """Times the operations that parameters are of, on random data that no cache holds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._workloads: dict[str, _Workload] = {}
        self._repeats: dict[tuple[str, int, int], int] = {}

    def run(self, parameter: Parameter) -> float:
        """Seconds of all cases, each as often as makes a fair share of the time."""
        seconds = 0.0
        cases = self._cases(parameter)
        for rows, context in cases:
            enqueue, _ = self._workload(parameter).case(rows, context)
            key = (parameter.operation, rows, context)
            if key not in self._repeats:
                self._timed(enqueue, 1)  # kernels are built, caches have met the data
                share = _SECONDS / len(cases)
                wanted = math.ceil(share / max(self._timed(enqueue, 1), 1e-6))
                self._repeats[key] = min(wanted, _MOST_REPEATS)
            seconds += self._timed(enqueue, self._repeats[key])
        return seconds

    def results(self, parameter: Parameter) -> list[NDArray[np.float32]]:
        """What each case computes."""
        workload = self._workload(parameter)
        return [workload.case(*case)[1]() for case in self._cases(parameter)]

    def _cases(self, parameter: Parameter) -> list[tuple[int, int]]:
        return list(itertools.product(parameter.rows, parameter.contexts))

    def _workload(self, parameter: Parameter) -> _Workload:
        name = parameter.operation
        if name not in self._workloads:
            self._workloads.clear()  # one's memory at a time
            self._workloads[name] = _WORKLOADS[name](self._runtime)
        return self._workloads[name]

    def _timed(self, enqueue: Enqueue, repeats: int) -> float:
        self._runtime.finish()
        began = time.perf_counter()
        for i in range(repeats):
            enqueue(i)
        self._runtime.finish()
        return time.perf_counter() - began


class _Networks:
    """x += down(silu(gate(h)) * up(h)): the largest products of a model, by its own launches."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        D, F = _WIDTH, _HIDDEN
        self._norm = ops.Norm(runtime.from_numpy(np.ones(D, np.float32)), 1e-5)
        seeds = itertools.count()
        self._networks = [
            ops.GatedNetwork(
                gate=self._matrix(F, D, next(seeds)),
                up=self._matrix(F, D, next(seeds)),
                down=self._matrix(D, F, next(seeds)),
            )
            for _ in range(_NETWORKS)
        ]

    def _matrix(self, rows: int, columns: int, seed: int) -> ops.Weight:
        matrix = self._runtime.empty((rows, columns), np.float16)
        ops.fill_random(matrix, seed, 0.03)
        segment = ops.Segment(matrix.buffer, 0, columns, 0, rows)
        return ops.Weight(self._runtime, (segment,), rows, columns)

    def case(self, rows: int, context: int) -> tuple[Enqueue, Callable[[], NDArray[np.float32]]]:
        """Activations of `rows` tokens; positions do not matter."""
        start_TD = _normal(rows, _WIDTH)
        x_TD = self._runtime.from_numpy(start_TD)

        def enqueue(i: int) -> None:
            ops.feed_forward(x_TD, self._norm, self._networks[i % _NETWORKS])

        def result() -> NDArray[np.float32]:
            enqueue(0)
            increment: NDArray[np.float32] = x_TD.numpy() - start_TD
            return increment

        return enqueue, result


class _Attention:
    """New tokens of one sequence meet its cache."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        blocks = ops.ceil_div(_LONGEST, ops.BLOCK)
        self._caches = [
            ops.allocate_cache(runtime, blocks, _KV_HEADS, _HEAD_DIM) for _ in range(_CACHES)
        ]
        for i, cache in enumerate(self._caches):
            ops.fill_random(cache.keys, 2 * i, 1.0)
            ops.fill_random(cache.values, 2 * i + 1, 1.0)
        order = np.random.default_rng(0).permutation(blocks).astype(np.int32)
        self._table: DeviceArray = runtime.from_numpy(order[None])

    def case(self, rows: int, context: int) -> tuple[Enqueue, Callable[[], NDArray[np.float32]]]:
        """The plan is made anew: parameters say how."""
        q_THK = self._runtime.from_numpy(_normal(rows, _HEADS, _HEAD_DIM))
        out_THK = self._runtime.empty(q_THK.shape, np.float32)
        plan = ops.plan_attention(
            self._runtime,
            [(rows, context)],
            self._table,
            n_heads=_HEADS,
            n_kv_heads=_KV_HEADS,
            head_dim=_HEAD_DIM,
        )

        def enqueue(i: int) -> None:
            ops.attention(q_THK, self._caches[i % _CACHES], plan, out_THK)

        def result() -> NDArray[np.float32]:
            enqueue(0)
            return out_THK.numpy()

        return enqueue, result


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(shape[0]).standard_normal(shape, dtype=np.float32)


_WORKLOADS: dict[str, Callable[[Runtime], _Workload]] = {
    "matmul": _Networks,
    "attention": _Attention,
}
