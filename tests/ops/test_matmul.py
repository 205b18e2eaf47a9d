"""matmul against float64, for shapes that no tile divides."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Family, Runtime
from cl_llama.ops import matmul_method, matmul_portable
from tests import reference
from tests.ops.guarded import Guarded, assert_close

# A float32 sum of D products in 16 or 64 partial sums is off by about sqrt(D) * 2^-24 of its terms.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Case:
    T: int
    N: int
    D: int
    bias: bool = False
    accumulate: bool = False
    segment_rows: int | None = None
    offset: int = 0
    stride_extra: int = 0


CASES = [
    Case(1, 1, 1),
    Case(1, 5, 17, bias=True),
    Case(1, 64, 64, accumulate=True),
    Case(1, 131, 300, bias=True, accumulate=True, segment_rows=50),
    Case(1, 96, 2048, offset=3, stride_extra=5),
    Case(2, 33, 40, bias=True),
    Case(3, 7, 255, accumulate=True),
    Case(4, 63, 129),
    Case(5, 31, 16),
    Case(5, 65, 257, bias=True, accumulate=True),
    Case(12, 32, 256),
    Case(13, 64, 272, accumulate=True, offset=1, stride_extra=7),
    Case(20, 41, 300, bias=True),
    Case(31, 1, 33, bias=True),
    Case(6, 21, 600, segment_rows=9, accumulate=True, offset=5, stride_extra=3),
    Case(16, 70, 257, bias=True),
    Case(32, 9, 512, accumulate=True),
    Case(33, 100, 520, segment_rows=33, bias=True),
    Case(50, 17, 100, accumulate=True),
    Case(64, 390, 129),
    Case(70, 390, 129),
    Case(97, 193, 300, bias=True, accumulate=True, segment_rows=150, offset=7, stride_extra=1),
    Case(130, 48, 16),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_matmul(runtime: Runtime, family: Family, case: Case) -> None:
    rng = np.random.default_rng(case.T * 7919 + case.N * 31 + case.D)
    T, N, D = case.T, case.N, case.D
    x_TD = rng.standard_normal((T, D)).astype(np.float32)
    w_ND = rng.standard_normal((N, D)).astype(np.float16)
    bias_N = rng.standard_normal(N).astype(np.float32)
    before_TN = rng.standard_normal((T, N)).astype(np.float32)
    weight = _place(runtime, w_ND, case)
    out = Guarded(runtime, before_TN)
    ops.matmul(
        runtime.from_numpy(x_TD),
        weight,
        out.array,
        runtime.from_numpy(bias_N) if case.bias else None,
        accumulate=case.accumulate,
        family=family,
    )
    expected = reference.matmul(x_TD, w_ND, bias_N if case.bias else None)
    if case.accumulate:
        expected = expected + before_TN
    assert_close(out.numpy(), expected, TOLERANCE)


# The portable family's ways of multiplying that a device may not choose by itself.
# Of each the most rows of activations.
VARIANTS: dict[str, tuple[matmul_method.Method, int]] = {
    "gemv-256": (matmul_portable.Gemv("local", group=256), 4),
    "gemv-subgroup": (matmul_portable.Gemv("subgroup"), 8),
    "gemm-128": (matmul_portable.Gemm(items_n=16), 10**9),
}
MEETINGS = [
    pytest.param(name, case, id=f"portable-{name}-{case}")
    for name, (_, most) in VARIANTS.items()
    for case in CASES
    if most >= case.T
]


@pytest.mark.parametrize(("variant", "case"), MEETINGS)
def test_variants(
    runtime: Runtime, variant: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variant == "gemv-subgroup" and not runtime.device.subgroups:
        pytest.skip("no subgroups")
    method, _ = VARIANTS[variant]
    monkeypatch.setattr(sys.modules["cl_llama.ops.matmul"], "choose", lambda *_: method)
    test_matmul(runtime, "portable", case)


def test_a_reduction_that_does_not_build_is_not_chosen(runtime: Runtime) -> None:
    if runtime.device.platform.startswith("NVIDIA"):
        pytest.skip("its driver builds them all")
    assert not matmul_portable.adds_up(runtime, "warp")
    assert matmul_portable.adds_up(runtime, "local")


def _place(runtime: Runtime, w_ND: np.ndarray, case: Case) -> ops.Weight:
    """The matrix in segments, at an offset, with a stride beyond its width; NaN lies between."""
    N, D = w_ND.shape
    stride = D + case.stride_extra
    segments = []
    for first in range(0, N, case.segment_rows or N):
        rows = w_ND[first : first + (case.segment_rows or N)]
        host = np.full(case.offset + len(rows) * stride + 64, np.nan, np.float16)
        grid = host[case.offset : case.offset + len(rows) * stride].reshape(len(rows), stride)
        grid[:, :D] = rows
        buffer = runtime.from_numpy(host).buffer
        segments.append(ops.Segment(buffer, case.offset, stride, first, len(rows)))
    return ops.Weight(runtime, tuple(segments), N, D)


def test_several_matrices_share_prepared_rows(runtime: Runtime, family: Family) -> None:
    rng = np.random.default_rng(5)
    x_TD = rng.standard_normal((20, 48)).astype(np.float32)
    weights = [rng.standard_normal((n, 48)).astype(np.float16) for n in (16, 40)]
    outs = [Guarded(runtime, np.zeros((20, len(w)), np.float32)) for w in weights]
    products = [
        ops.Product(_place(runtime, w, Case(20, len(w), 48)), out.array)
        for w, out in zip(weights, outs, strict=True)
    ]
    ops.matmul_each(runtime.from_numpy(x_TD), products, family=family)
    for w, out in zip(weights, outs, strict=True):
        assert_close(out.numpy(), reference.matmul(x_TD, w), TOLERANCE)


def test_wrong_shapes_are_named(runtime: Runtime) -> None:
    weight = _place(runtime, np.zeros((8, 16), np.float16), Case(1, 8, 16))
    x_TD = runtime.empty((2, 12), np.float32)
    out_TN = runtime.empty((2, 8), np.float32)
    with pytest.raises(ValueError, match=r"x_TD has shape \(2, 12\), needs \(2, 16\)"):
        ops.matmul(x_TD, weight, out_TN)
