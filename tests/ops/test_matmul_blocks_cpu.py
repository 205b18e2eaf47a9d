"""Products of the CPU family with quantised weights against float64, and look-ups in them."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.blocks import FORMATS, dequantize, quantize
from cl_llama.opencl.runtime import Family, Runtime
from cl_llama.ops.matmul_blocks_cpu import BLOCK_ROWS, DOTS_FORMATS
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
    if runtime.family != "cpu" and runtime.device.type != "simulator":
        pytest.skip("a CPU's kernels")
    return runtime


# What decodes blocks is shared: each format meets one row, some meet more of them.
MEETINGS: list[tuple[str, ops.Precision, int, int, int]] = [
    *((format, "fast", 1, 37, 512) for format in FORMATS),
    *((format, "high", 3, 150, 288) for format in ("q8_0", "q5_1", "q4_k", "q6_k")),
    *((format, "fast", 9, 58, 544) for format in ("q8_0", "q6_k")),
    *((format, "high", 9, 58, 544) for format in ("q5_1", "q4_k")),
    ("q4_0", "fast", 7, 33, 256),
    ("q4_k", "fast", 197, 70, 256),
]


@pytest.mark.parametrize(
    ("format", "precision", "T", "N", "D"),
    [pytest.param(*case, id="-".join(map(str, ("cpu", *case)))) for case in MEETINGS],
)
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
        ops.upload_matrix(cpu_runtime, matrix, family="cpu"),
        out.array,
        cpu_runtime.from_numpy(bias_N),
        accumulate=True,
        family="cpu",
        precision=precision,
    )
    tolerance = MANY_TOLERANCE if precision == "fast" and T > 8 else TOLERANCE[precision]
    expected = reference.matmul(x_TD, matrix.values, bias_N) + before_TN
    assert_close(out.numpy(), expected, tolerance)


@pytest.mark.parametrize("precision", ["fast", "high"])
@pytest.mark.parametrize("format", sorted(DOTS_FORMATS))
def test_products_of_bytes(vnni_runtime: Runtime, format: str, precision: ops.Precision) -> None:
    for T in (1, 3):
        test_matmul(vnni_runtime, format, precision, T, 150, 512)


def test_most_rows_of_bytes(vnni_runtime: Runtime) -> None:
    for T in range(1, BLOCK_ROWS + 1):
        test_matmul(vnni_runtime, "q4_0", "high", T, 33, 96)


@pytest.mark.parametrize(("format", "T", "D"), [("q4_k", 197, 256), ("q8_0", 9, 416)])
def test_many_rows_of_pairs(vnni_runtime: Runtime, format: str, T: int, D: int) -> None:
    test_matmul(vnni_runtime, format, "fast", T, 70, D)


def test_activations_at_their_limits(vnni_runtime: Runtime) -> None:
    """The largest in their 32 columns, and numbers beside it whose lower bytes carry."""
    matrix = random_matrix("q8_0", 16, 64)
    for precision in ("fast", "high"):
        limbs = {"fast": 2, "high": 3}[precision]
        x_TD = np.linspace(-1, 1, 512, dtype=np.float32).reshape(8, 64)
        x_TD += np.float32(256.0**-limbs) * np.arange(64, dtype=np.float32)
        x_TD[:, 0] = x_TD[:, 33] = 1.25
        out = Guarded(vnni_runtime, np.zeros((8, 16), np.float32))
        weight = ops.upload_matrix(vnni_runtime, matrix, family="cpu")
        x = vnni_runtime.from_numpy(x_TD)
        ops.matmul(x, weight, out.array, family="cpu", precision=precision)
        expected = reference.matmul(x_TD, matrix.values, None)
        assert_close(out.numpy(), expected, TOLERANCE[precision])


@pytest.mark.parametrize("format", FORMATS)
def test_embedding(cpu_runtime: Runtime, format: str) -> None:
    matrix = random_matrix(format, 37, 256)
    ids = np.array([36, 0, 17, 15], np.int32)
    out = Guarded(cpu_runtime, np.zeros((4, 256), np.float32))
    weight = ops.upload_matrix(cpu_runtime, matrix, family="cpu")
    ops.embedding(cpu_runtime.from_numpy(ids), weight, out.array, scale=0.5, family="cpu")
    assert_close(out.numpy(), matrix.values[ids] / 2, 1e-6)


@pytest.mark.parametrize(("T", "precision"), [(1, "fast"), (2, "high"), (9, "fast"), (9, "high")])
def test_feed_forward_of_mixed_formats(
    cpu_runtime: Runtime, T: int, precision: ops.Precision
) -> None:
    D, F = 256, 512
    rng = np.random.default_rng(T)
    x_TD = rng.standard_normal((T, D)).astype(np.float32)
    norm_D = rng.uniform(0.5, 1.5, D).astype(np.float32)
    gate, up = random_matrix("q4_k", F, D), random_matrix("q4_k", F, D)
    up.blocks = up.blocks[::-1].copy()
    down = random_matrix("q6_k", D, F)
    network = ops.GatedNetwork(
        *[ops.upload_matrix(cpu_runtime, m, family="cpu") for m in (gate, up, down)]
    )
    out = Guarded(cpu_runtime, x_TD)
    norm = ops.Norm(cpu_runtime.from_numpy(norm_D), 1e-5)
    ops.feed_forward(out.array, norm, network, family="cpu", precision=precision)
    h_TD = reference.rmsnorm(x_TD, norm_D, 1e-5)
    hidden = [reference.matmul(h_TD, matrix.values) for matrix in (gate, up)]
    added = reference.matmul(reference.swiglu(*hidden), down.values)
    # Two products in sequence; what is rounded in the first is multiplied in the second.
    assert_close(out.numpy() - x_TD, added, 5 * MANY_TOLERANCE if precision == "fast" else 2e-4)


def test_products_of_one_norm_with_several_formats(cpu_runtime: Runtime) -> None:
    x_TD = np.random.default_rng(1).standard_normal((2, 256)).astype(np.float32)
    norm_D = np.linspace(0.5, 1.5, 256, dtype=np.float32)
    matrices = [random_matrix(format, 40, 256) for format in ("q4_k", "q6_k", "q4_k")]
    outs = [Guarded(cpu_runtime, np.zeros((2, 40), np.float32)) for _ in matrices]
    ops.norm_matmul_each(
        cpu_runtime.from_numpy(x_TD),
        ops.Norm(cpu_runtime.from_numpy(norm_D), 1e-5),
        [
            ops.Product(ops.upload_matrix(cpu_runtime, matrix, family="cpu"), out.array)
            for matrix, out in zip(matrices, outs, strict=True)
        ],
        family="cpu",
        precision="high",
    )
    h_TD = reference.rmsnorm(x_TD, norm_D, 1e-5)
    for matrix, out in zip(matrices, outs, strict=True):
        assert_close(out.numpy(), reference.matmul(h_TD, matrix.values), TOLERANCE["high"])


class Floats:
    """A matrix of float32."""

    name, shape = "floats", (20, 64)
    values = np.random.default_rng(2).standard_normal(shape).astype(np.float32)

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]

    def release(self) -> None:
        pass


@pytest.mark.parametrize("family", ["cpu", "portable"])
def test_values_are_quantized_on_the_way(cpu_runtime: Runtime, family: Family) -> None:
    weight = ops.upload_matrix(cpu_runtime, Floats(), quantize="q8_0", family=family)
    assert weight.format == "q8_0"
    out = Guarded(cpu_runtime, np.zeros((3, 20), np.float32))
    x_TD = np.random.default_rng(3).standard_normal((3, 64)).astype(np.float32)
    ops.matmul(cpu_runtime.from_numpy(x_TD), weight, out.array, family=family)
    values = dequantize("q8_0", quantize("q8_0", Floats.values))
    assert_close(out.numpy(), reference.matmul(x_TD, values), TOLERANCE["high"])


def test_rows_that_blocks_do_not_fit_stay_halves(cpu_runtime: Runtime) -> None:
    assert ops.upload_matrix(cpu_runtime, Floats(), quantize="q4_k").format == "f16"


def test_the_order_of_another_family_is_refused(cpu_runtime: Runtime) -> None:
    weight = ops.upload_matrix(cpu_runtime, Floats(), quantize="q8_0", family="portable")
    x_TD, out_TN = cpu_runtime.empty((1, 64), np.float32), cpu_runtime.empty((1, 20), np.float32)
    with pytest.raises(ValueError, match="1 rows of q8_0 are interleaved, the cpu family needs 16"):
        ops.matmul(x_TD, weight, out_TN, family="cpu")
