"""Products of the CPU family with quantised weights against float64, and look-ups in them."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.blocks import FORMATS
from cl_llama.opencl.runtime import Runtime
from tests import reference
from tests.ops.block_source import random_matrix
from tests.ops.guarded import Guarded, assert_close

# Float32 sums; numbers and minima are summed apart, and are larger than what is left of them.
# Activations of 16 bits are off by 2e-5 of what is usual in 32 columns; of many rows, they and the
# weights have 13 bits in 128.
TOLERANCE: dict[ops.Precision, float] = {"high": 4e-5, "fast": 2e-4}
MANY_TOLERANCE = 3e-3


@pytest.fixture
def cpu_runtime(runtime: Runtime) -> Runtime:
    if runtime.family != "cpu":
        pytest.skip("a CPU's kernels")
    return runtime


# What decodes blocks is shared: each format meets one row, and several in the other precision.
MEETINGS: list[tuple[str, ops.Precision, int, int, int]] = [
    *((format, "fast", 1, 37, 512) for format in FORMATS),
    *((format, "high", 3, 150, 288) for format in FORMATS),
    *((format, "fast", 9, 58, 544) for format in ("q4_0", "q8_0", "q6_k")),
    *((format, "high", 9, 58, 544) for format in ("q5_1", "q4_k")),
    ("q4_k", "fast", 197, 33, 256),
]


@pytest.mark.parametrize(("format", "precision", "T", "N", "D"), MEETINGS)
def test_matmul(
    cpu_runtime: Runtime, format: str, precision: ops.Precision, T: int, N: int, D: int
) -> None:
    D = -(-D // FORMATS[format].elements) * FORMATS[format].elements
    matrix = random_matrix(format, N, D)
    rng = np.random.default_rng(T)
    x_TD = rng.standard_normal((T, D)).astype(np.float32)
    bias_N = rng.standard_normal(N).astype(np.float32)
    before_TN = rng.standard_normal((T, N)).astype(np.float32)
    out = Guarded(cpu_runtime, before_TN)
    ops.matmul(
        cpu_runtime.from_numpy(x_TD),
        ops.upload_matrix(cpu_runtime, matrix),
        out.array,
        cpu_runtime.from_numpy(bias_N),
        accumulate=True,
        precision=precision,
    )
    tolerance = MANY_TOLERANCE if precision == "fast" and T > 4 else TOLERANCE[precision]
    expected = reference.matmul(x_TD, matrix.values, bias_N) + before_TN
    assert_close(out.numpy(), expected, tolerance)


@pytest.mark.parametrize("format", FORMATS)
def test_embedding(cpu_runtime: Runtime, format: str) -> None:
    matrix = random_matrix(format, 37, 256)
    ids = np.array([36, 0, 17, 15], np.int32)
    out = Guarded(cpu_runtime, np.zeros((4, 256), np.float32))
    weight = ops.upload_matrix(cpu_runtime, matrix)
    ops.embedding(cpu_runtime.from_numpy(ids), weight, out.array, scale=0.5)
    assert_close(out.numpy(), matrix.values[ids] / 2, 1e-6)
