"""Products with weights in blocks, by the portable kernels, against float64."""

from dataclasses import dataclass

import numpy as np
import pytest

from cl_llama.blocks import dequantize
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops import matmul_decoded, matmul_portable
from cl_llama.ops.matmul import choose
from cl_llama.ops.matmul_method import ACCUMULATE, BIAS, Method, Product
from cl_llama.ops.matmul_mma import GemmMma
from tests import reference
from tests.ops.block_matrices import place, random_blocks
from tests.ops.guarded import Guarded, assert_close

# That of halves, for the sums are as long. What a scale multiplies is up to four times as large as
# the weights where the format has offsets, which costs two of the bits to spare.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Case:
    """T rows of activations, N of weights, whose columns are so many groups of 256."""

    T: int
    N: int
    groups: int
    segment_rows: int | None = None
    offset: int = 0
    stride_extra: int = 0


GEMV, GEMM = matmul_portable.Gemv(), matmul_portable.Gemm()
WAYS = {
    "gemv": (GEMV, Case(1, 5, 5)),
    "gemv-apart": (GEMV, Case(3, 7, 1, segment_rows=4, offset=6, stride_extra=10)),
    "gemm": (GEMM, Case(9, 66, 1)),
    "gemm-apart": (GEMM, Case(40, 5, 2, segment_rows=3, offset=6, stride_extra=10)),
}
# What reads blocks is shared, and look-ups are tested with every format.
MEETINGS = [
    *(("gemv", format) for format in ("q8_0", "q4_1", "q2_k", "q6_k", "iq4_xs")),
    *(("gemv-apart", format) for format in ("q4_k", "q3_k")),
    ("gemm", "q4_0"),
    ("gemm-apart", "q5_k"),
]


@pytest.mark.parametrize(
    ("way", "format"), [pytest.param(*m, id=f"portable-{m[0]}-{m[1]}") for m in MEETINGS]
)
def test_matmul_of_blocks(runtime: Runtime, way: str, format: str) -> None:
    method, case = WAYS[way]
    check(runtime, method, format, case)


@pytest.mark.parametrize("format", [pytest.param("q5_0", id="portable-q5_0")])
def test_decoded(runtime: Runtime, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As halves, by the kernel for these, in pieces of three rows."""
    monkeypatch.setattr(matmul_decoded, "DECODED_BYTES", 3 * 2 * 256)
    method = matmul_decoded.Decoded(GEMV)
    check(runtime, method, format, Case(2, 7, 1, segment_rows=5), np.float16)


def test_only_fast_products_round_weights(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrix units take halves, which hold fewer bits than blocks do."""
    monkeypatch.setattr(runtime, "matrix_unit", "mma")
    assert choose(runtime, "portable", "high", 64, format="q4_k") == GEMM
    fast = choose(runtime, "portable", "fast", 64, format="q4_k")
    assert fast == matmul_decoded.Decoded(GemmMma(parts=1))
    assert choose(runtime, "portable", "fast", 1, format="q4_k") == GEMV


def check(
    runtime: Runtime, method: Method, format: str, case: Case, held: type = np.float32
) -> None:
    rng = np.random.default_rng(case.T * 31 + case.N)
    T, N, D = case.T, case.N, case.groups * 256
    x_TD = rng.standard_normal((T, D)).astype(np.float32)
    bias_N = rng.standard_normal(N).astype(np.float32)
    before_TN = rng.standard_normal((T, N)).astype(np.float32)
    blocks = random_blocks(format, rng, N, D)
    weight = place(
        runtime,
        format,
        blocks,
        segment_rows=case.segment_rows,
        offset=case.offset,
        stride_extra=case.stride_extra,
    )
    out = Guarded(runtime, before_TN)
    product = Product(weight, out.array, runtime.from_numpy(bias_N))
    x = method.prepare(runtime.from_numpy(x_TD))
    for segment in weight.segments:
        method.launch(x, segment, product, (T, segment.rows, D), ACCUMULATE | BIAS)
    w_ND = dequantize(format, blocks).astype(held)
    assert_close(out.numpy(), reference.matmul(x_TD, w_ND, bias_N) + before_TN, TOLERANCE)
