"""Embedding lookup, norms and activation functions against float64."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.blocks import FORMATS, dequantize
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.ops.block_matrices import place, random_blocks
from tests.ops.guarded import Guarded, assert_close

WIDTHS = [1, 8, 15, 16, 17, 100, 1040]


@pytest.mark.parametrize("D", WIDTHS)
@pytest.mark.parametrize("segment_rows", [23, 7])
def test_embedding(runtime: Runtime, family: Family, D: int, segment_rows: int) -> None:
    rng = np.random.default_rng(D)
    w_VD = rng.standard_normal((23, D)).astype(np.float16)
    ids_T = np.array([0, 22, 7, 6, 7, 13, 14], np.int32)
    segments = tuple(
        ops.Segment(runtime.from_numpy(rows).buffer, 0, D, first, len(rows))
        for first in range(0, 23, segment_rows)
        for rows in [w_VD[first : first + segment_rows]]
    )
    out = Guarded(runtime, np.full((len(ids_T), D), np.nan, np.float32))
    weight = ops.Weight(runtime, segments, 23, D)
    ops.embedding(runtime.from_numpy(ids_T), weight, out.array, scale=0.5, family=family)
    np.testing.assert_array_equal(out.numpy(), w_VD[ids_T].astype(np.float32) / 2)


@pytest.mark.parametrize("format", [pytest.param(f, id=f"portable-{f}") for f in FORMATS])
def test_embedding_of_blocks(runtime: Runtime, format: str) -> None:
    blocks = random_blocks(format, np.random.default_rng(3), 23, 768)
    weight = place(runtime, format, blocks, segment_rows=7, offset=2)
    ids_T = np.array([0, 22, 7, 6, 7, 13, 14], np.int32)
    out = Guarded(runtime, np.full((len(ids_T), 768), np.nan, np.float32))
    ops.embedding(runtime.from_numpy(ids_T), weight, out.array, scale=0.5, family="portable")
    # A scale, a number and an offset of few bits each: one sum is rounded, or a product before it.
    assert_close(out.numpy(), dequantize(format, blocks)[ids_T] / 2, 1e-6)


@pytest.mark.parametrize("shape", [(1, 2), (1, 17), (3, 1031)])
def test_add(runtime: Runtime, family: Family, shape: tuple[int, int]) -> None:
    x_TD, y_TD = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    x = Guarded(runtime, x_TD)
    ops.add(x.array, runtime.from_numpy(y_TD), family=family)
    np.testing.assert_array_equal(x.numpy(), x_TD + y_TD)


@pytest.mark.parametrize("D", WIDTHS)
@pytest.mark.parametrize("gather", [False, True])
def test_layernorm(runtime: Runtime, family: Family, D: int, gather: bool) -> None:
    """The mean of most rows is far from zero: squares alone would lose the variance."""
    rng = np.random.default_rng(D)
    x_TD = (rng.standard_normal((5, D)) + 100 * rng.standard_normal((5, 1))).astype(np.float32)
    x_TD[3] = 2.0  # eps alone keeps this row finite
    w_D, b_D = rng.standard_normal((2, D)).astype(np.float32)
    rows = np.array([4, 0, 3], np.int32) if gather else None
    source = x_TD if rows is None else x_TD[rows]
    out = Guarded(runtime, np.full(source.shape, np.nan, np.float32) if gather else x_TD)
    ops.layernorm(
        runtime.from_numpy(x_TD) if gather else out.array,
        runtime.from_numpy(w_D),
        runtime.from_numpy(b_D),
        1e-5,
        out.array,
        None if rows is None else runtime.from_numpy(rows),
        family=family,
    )
    # The mean, of about 100, is off by its last bits.
    assert_close(out.numpy(), reference.layernorm(source, w_D, b_D, 1e-5), 1e-4)


@pytest.mark.parametrize("shape", [(1, 2), (1, 17), (3, 100), (3, 1031)])
def test_gelu(runtime: Runtime, family: Family, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[1])
    x_TF = (rng.standard_normal(shape) * 3).astype(np.float32)
    x_TF[0, :2] = -60.0, 60.0  # the exponential overflows: gelu tends to zero, not to NaN
    x = Guarded(runtime, x_TF)
    ops.gelu(x.array, family=family)
    assert_close(x.numpy(), reference.gelu(x_TF), 2e-6)


@pytest.mark.parametrize("D", WIDTHS)
@pytest.mark.parametrize("gather", [False, True])
def test_rmsnorm(runtime: Runtime, family: Family, D: int, gather: bool) -> None:
    rng = np.random.default_rng(D)
    x_TD = (rng.standard_normal((5, D)) * 3).astype(np.float32)
    x_TD[3] = 0.0  # eps alone keeps this row finite
    w_D = rng.standard_normal(D).astype(np.float32)
    rows = np.array([4, 0, 3], np.int32) if gather else None
    source = x_TD if rows is None else x_TD[rows]
    out = Guarded(runtime, np.full(source.shape, np.nan, np.float32))
    ops.rmsnorm(
        runtime.from_numpy(x_TD),
        runtime.from_numpy(w_D),
        1e-5,
        out.array,
        None if rows is None else runtime.from_numpy(rows),
        family=family,
    )
    assert_close(out.numpy(), reference.rmsnorm(source, w_D, 1e-5), 2e-6)


@pytest.mark.parametrize("D", [17, 2048])
def test_rmsnorm_by_wide_groups(runtime: Runtime, D: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "wide_groups", True)  # as a GPU has them
    test_rmsnorm(runtime, "portable", D, gather=True)


def test_rmsnorm_in_place(runtime: Runtime, family: Family) -> None:
    rng = np.random.default_rng(0)
    x_TD = rng.standard_normal((6, 40)).astype(np.float32)
    w_D = rng.standard_normal(40).astype(np.float32)
    x = Guarded(runtime, x_TD)
    ops.rmsnorm(x.array, runtime.from_numpy(w_D), 1e-6, x.array, family=family)
    assert_close(x.numpy(), reference.rmsnorm(x_TD, w_D, 1e-6), 2e-6)


@pytest.mark.parametrize("shape", [(1, 2), (1, 17), (3, 100), (2, 1024), (3, 1031)])
def test_swiglu(runtime: Runtime, family: Family, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[1])
    gate_TF = (rng.standard_normal(shape) * 4).astype(np.float32)
    up_TF = rng.standard_normal(shape).astype(np.float32)
    gate_TF[0, 0] = -200.0  # exp overflows: silu tends to zero, not to NaN
    gate = Guarded(runtime, gate_TF)
    ops.swiglu(gate.array, runtime.from_numpy(up_TF), family=family)
    assert_close(gate.numpy(), reference.swiglu(gate_TF, up_TF), 2e-6)


@pytest.mark.parametrize("shape", [(1, 17), (3, 1031)])
def test_geglu(runtime: Runtime, family: Family, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[1])
    gate_TF = (rng.standard_normal(shape) * 4).astype(np.float32)
    up_TF = rng.standard_normal(shape).astype(np.float32)
    gate_TF[0, :2] = -60.0, 60.0
    gate = Guarded(runtime, gate_TF)
    ops.geglu(gate.array, runtime.from_numpy(up_TF), family=family)
    assert_close(gate.numpy(), reference.geglu(gate_TF, up_TF), 2e-6)


@pytest.mark.parametrize("shape", [(1, 17), (3, 1031)])
def test_softcap(runtime: Runtime, family: Family, shape: tuple[int, int]) -> None:
    x_RV = (np.random.default_rng(shape[1]).standard_normal(shape) * 40).astype(np.float32)
    x_RV[0, :3] = 0.0, -1e30, np.inf
    x = Guarded(runtime, x_RV)
    ops.softcap(x.array, 30.0, family=family)
    assert_close(x.numpy(), reference.softcap(x_RV, 30.0), 2e-6)
