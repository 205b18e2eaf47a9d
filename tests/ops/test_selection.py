"""argmax, top-k, picked ones and softmax of logits."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.ops.guarded import Guarded, assert_close

VOCABULARIES = [1, 15, 16, 17, 512, 1031, 4500]


def make_logits(rows: int, V: int) -> np.ndarray:
    """Coarse values, so that many are equal."""
    rng = np.random.default_rng(V)
    return (np.round(rng.standard_normal((rows, V)) * 8) / 4).astype(np.float32)


@pytest.mark.parametrize("V", VOCABULARIES)
def test_argmax(runtime: Runtime, family: Family, V: int) -> None:
    logits_RV = make_logits(3, V)
    ids, values = ops.argmax(runtime.from_numpy(logits_RV), family=family)
    np.testing.assert_array_equal(ids, np.argmax(logits_RV, axis=1))
    np.testing.assert_array_equal(values, np.max(logits_RV, axis=1))


@pytest.mark.parametrize("V", VOCABULARIES)
@pytest.mark.parametrize("k", [1, 7, 64])
def test_top_k(runtime: Runtime, family: Family, V: int, k: int) -> None:
    k = min(k, V)
    logits_RV = make_logits(3, V)
    ids, values = ops.top_k(runtime.from_numpy(logits_RV), k, family=family)
    expected = np.argsort(-logits_RV, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(logits_RV, expected, axis=1))


def test_nan_is_found(runtime: Runtime, family: Family) -> None:
    logits_RV = make_logits(2, 100)
    logits_RV[1, 77] = np.nan
    device = runtime.from_numpy(logits_RV)
    ids, values = ops.argmax(device, family=family)
    assert ids[1] == 77
    assert np.isnan(values[1])
    assert not np.isnan(values[0])
    ids_Rk, values_Rk = ops.top_k(device, 3, family=family)
    assert ids_Rk[1, 0] == 77
    assert np.isnan(values_Rk[1, 0])
    rest = np.where(np.isnan(logits_RV[1]), -np.inf, logits_RV[1])
    np.testing.assert_array_equal(ids_Rk[1, 1:], np.argsort(-rest, kind="stable")[:2])


def test_minus_infinity_everywhere_but_one(runtime: Runtime, family: Family) -> None:
    logits_RV = np.full((1, 70), -np.inf, np.float32)
    logits_RV[0, 69] = -5.0
    device = runtime.from_numpy(logits_RV)
    assert ops.argmax(device, family=family)[0][0] == 69
    ids, _ = ops.top_k(device, 3, family=family)
    np.testing.assert_array_equal(ids, [[69, 0, 1]])


@pytest.mark.parametrize("V", VOCABULARIES)
@pytest.mark.parametrize("in_place", [False, True])
def test_softmax(runtime: Runtime, family: Family, V: int, in_place: bool) -> None:
    logits_RV = make_logits(3, V) * 20 + 500  # exp of these overflows unless the maximum goes first
    logits = Guarded(runtime, logits_RV)
    totals = Guarded(runtime, np.full(3, np.nan, np.float32))
    ops.softmax(logits.array, totals.array, in_place=in_place, family=family)
    assert_close(totals.numpy(), reference.logsumexp(logits_RV), 2e-6)
    if in_place:
        # A unit in the last place of a probability near 1, where the RMS of the row is 1 / sqrt(V).
        assert_close(logits.numpy(), reference.softmax(logits_RV), 1e-5)
    else:
        np.testing.assert_array_equal(logits.numpy(), logits_RV)


@pytest.mark.parametrize("V", VOCABULARIES)
def test_pick(runtime: Runtime, V: int) -> None:
    logits_RV = make_logits(67, V)
    ids_R = np.random.default_rng(V).integers(0, V, 67, dtype=np.int32)
    picked_R = ops.pick(runtime.from_numpy(logits_RV), ids_R)
    np.testing.assert_array_equal(picked_R, logits_RV[np.arange(67), ids_R])


def test_pick_out_of_range(runtime: Runtime) -> None:
    logits = runtime.from_numpy(make_logits(2, 20))
    for ids in ([0, 20], [-1, 0], [0]):
        with pytest.raises(ValueError, match="pick: expected 2 ids from 0 to 19"):
            ops.pick(logits, np.array(ids, np.int32))


def test_top_k_out_of_range(runtime: Runtime) -> None:
    logits = runtime.from_numpy(make_logits(1, 20))
    with pytest.raises(ValueError, match="k is 21, expected 1 to 20"):
        ops.top_k(logits, 21)
