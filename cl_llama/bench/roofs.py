"""The limits of a device, measured: how fast it reads memory, and multiplies and adds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cl_llama import ops
from cl_llama.errors import DeviceMemoryError
from cl_llama.opencl.host_memory import available_host_memory_bytes
from cl_llama.opencl.runtime import DeviceArray, Runtime

READ_BYTES = 1 << 30
"""What a reading reads, where that much fits: far more than any cache holds."""
_LEAST_READ_BYTES = 1 << 24
_LEAST_SECONDS = 0.005
"""A measurement takes at least so long, or launches would count."""
_VECTOR_BYTES = 64
_CPU_STREAMS, _GPU_STREAMS = (8, 16), (4,)
"""Vectors that a work-item reads in a round. On a CPU they lie far apart; how many of such streams
a core reads fastest is the CPU's, so both take turns."""


class ReadBandwidth:
    """A streaming read over more memory than caches hold, several buffers where one is too large.

    Raises:
        DeviceMemoryError: not even a small buffer fits.
    """

    def __init__(self, runtime: Runtime, nbytes: int = READ_BYTES) -> None:
        self._runtime = runtime
        self._contiguous = runtime.family == "cpu"
        self._streams = _CPU_STREAMS if self._contiguous else _GPU_STREAMS
        self._items = 64 * runtime.compute_units if self._contiguous else 1 << 16
        self._buffers = _buffers(runtime, nbytes)
        self._sums = runtime.empty((self._items,), np.uint32)
        self._passes = 1
        self._turn = 0
        self.nbytes = sum(buffer.nbytes for buffer in self._buffers)
        for _ in self._streams:
            rate = self.measure()
            self._passes = max(self._passes, int(_LEAST_SECONDS * rate / self.nbytes) + 1)

    def measure(self) -> float:
        """Bytes a second."""
        runtime, streams = self._runtime, self._streams[self._turn % len(self._streams)]
        self._turn += 1
        kernel = runtime.kernel(
            "stream_read.cl",
            "stream_read",
            "bbu",
            CONTIGUOUS=int(self._contiguous),
            STREAMS=streams,
        )
        round_bytes = self._items * streams * _VECTOR_BYTES
        local = (1,) if self._contiguous else (64,)
        runtime.finish()
        began, total = time.perf_counter(), 0
        for buffer in self._buffers * self._passes:
            rounds = buffer.nbytes // round_bytes
            runtime.launch(kernel, (self._items,), local, buffer, self._sums, rounds)
            total += rounds * round_bytes
        runtime.finish()
        return total / (time.perf_counter() - began)


class PeakFma:
    """Independent chains of float32 multiply-adds in registers, in vectors of the best width."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        cpu = runtime.family == "cpu"
        self._items = runtime.compute_units * (4 if cpu else 2048)
        self._local = (1,) if cpu else (64,)
        self._sums = runtime.empty((self._items,), np.float32)
        self._rounds = 1000
        self._vector = 1
        rates: dict[int, float] = {}
        for vector in (16, 8) if cpu else (1,):
            self._vector = vector
            self.measure()  # builds it
            rates[vector] = self.measure()
        self._vector = max(rates, key=lambda vector: rates[vector])
        seconds = self._flops() / rates[self._vector]
        self._rounds = max(self._rounds, int(self._rounds * _LEAST_SECONDS / seconds) + 1)

    def measure(self) -> float:
        """FLOPs a second."""
        runtime = self._runtime
        kernel = runtime.kernel("peak_fma.cl", "peak_fma", "bffu", VECTOR=self._vector)
        runtime.finish()
        began = time.perf_counter()
        arguments = (self._sums, 0.999, 0.001, self._rounds)
        runtime.launch(kernel, (self._items,), self._local, *arguments)
        runtime.finish()
        return self._flops() / (time.perf_counter() - began)

    def _flops(self) -> float:
        return 12.0 * 2 * self._vector * self._items * self._rounds


@dataclass
class Roofs:
    """Both limits, measured again and again beside what is compared to them."""

    reads: ReadBandwidth
    fma: PeakFma

    def measure(self) -> "Sample":
        """One measurement of each."""
        return Sample(self.reads.measure(), self.fma.measure())


@dataclass(frozen=True)
class Sample:
    """Bytes and FLOPs a second at one moment."""

    bytes_per_s: float
    flops_per_s: float


def best(samples: Sequence[Sample]) -> Sample:
    """The device's limits: the highest of each, since whatever disturbs only slows."""
    return Sample(max(s.bytes_per_s for s in samples), max(s.flops_per_s for s in samples))


def _buffers(runtime: Runtime, nbytes: int) -> list[DeviceArray]:
    """Buffers of `nbytes` together, fewer bytes where memory is short, none of them all zero."""
    if runtime.device.is_cpu:
        # Half of what is left: the rest of the bench and other programs need some.
        nbytes = min(nbytes, (available_host_memory_bytes() or 2 * nbytes) // 2)
    while True:
        nbytes = max(nbytes, _LEAST_READ_BYTES)
        piece = min(nbytes, runtime.device.max_alloc_bytes // 2)
        try:
            buffers = [runtime.empty((piece // 2,), np.float16) for _ in range(nbytes // piece)]
            for buffer in buffers:
                ops.fill_random(buffer, seed=1, amplitude=1.0)  # else all pages may be one
            runtime.finish()
            return buffers
        except DeviceMemoryError:
            if nbytes == _LEAST_READ_BYTES:
                raise
            nbytes //= 2
