"""The kernels that measure a device's limits do the work they are credited with."""

import numpy as np
import pytest

from cl_llama.bench.roofs import PeakFma, ReadBandwidth, Roofs, Sample, best
from cl_llama.opencl.runtime import Runtime


@pytest.mark.parametrize("contiguous", [0, 1])
@pytest.mark.parametrize("streams", [4, 8, 16])
def test_all_of_the_memory_is_read(runtime: Runtime, contiguous: int, streams: int) -> None:
    items, rounds = 64, 3
    data = np.random.default_rng(0).integers(0, 2**32, items * rounds * streams * 16, np.uint32)
    sums = runtime.empty((items,), np.uint32)
    defines = {"CONTIGUOUS": contiguous, "STREAMS": streams}
    kernel = runtime.kernel("stream_read.cl", "stream_read", "bbu", **defines)
    runtime.launch(kernel, (items,), (64,), runtime.from_numpy(data), sums, rounds)
    assert np.bitwise_xor.reduce(sums.numpy()) == np.bitwise_xor.reduce(data)


@pytest.mark.parametrize("vector", [1, 8, 16])
def test_every_chain_is_computed(runtime: Runtime, vector: int) -> None:
    items, rounds = 64, 10
    sums = runtime.empty((items,), np.float32)
    kernel = runtime.kernel("peak_fma.cl", "peak_fma", "bffu", VECTOR=vector)
    runtime.launch(kernel, (items,), (64,), sums, 0.5, 3.0, rounds)
    starts = np.arange(items)[:, None] + np.arange(12.0)
    chains = starts * 0.5**rounds + 3.0 * (1 - 0.5**rounds) / 0.5
    np.testing.assert_allclose(sums.numpy(), vector * chains.sum(axis=1), rtol=1e-6)


def test_limits_are_plausible(runtime: Runtime) -> None:
    reads = ReadBandwidth(runtime, 1 << 25)
    assert reads.nbytes == 1 << 25
    roofs = Roofs(reads, PeakFma(runtime))
    limits = best([roofs.measure() for _ in range(3)])
    assert 1e8 < limits.bytes_per_s < 1e14
    assert 1e8 < limits.flops_per_s < 1e15


def test_the_best_of_several_measurements() -> None:
    assert best([Sample(1.0, 5.0), Sample(2.0, 4.0)]) == Sample(2.0, 5.0)
