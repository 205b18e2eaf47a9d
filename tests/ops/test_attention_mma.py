"""Attention by the kernel for emulated tensor cores: test_attention's cases, and its own."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl import nvidia
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops import attention_mma
from tests import reference
from tests.ops import test_attention
from tests.ops.guarded import assert_close
from tests.ops.test_attention import CASES, TOLERANCE, Case

# One part: queries have 11 bits, which moves scores of up to some 10 by some 10^-3.
FAST_TOLERANCE = 1e-2

OWN_CASES = [
    Case(((40, 70),), H=4, G=2, K=128),
    Case(((65, 0), (2, 33)), H=1, G=1, K=96, window=31),
    pytest.param(Case(((3, 30),), H=2, G=1), id="tiny"),
]
# Those of single tokens are not the kernel's.
SEVERAL = [case for case in CASES if any(count > 1 for count, _ in case.spans)]


@pytest.fixture
def emulated(emulating: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A device that is taken for one with tensor cores."""
    attend = partial(attention_mma.attend_tiles, emulated=True)
    monkeypatch.setattr(attention_mma, "suits", lambda _, head_dim: attention_mma.takes(head_dim))
    monkeypatch.setattr(attention_mma, "attend_tiles", attend)
    return emulating


@pytest.mark.parametrize("case", SEVERAL + OWN_CASES, ids=str)
def test_high(emulated: Runtime, case: Case) -> None:
    test_attention.test_attention(emulated, "portable", case)


@pytest.mark.parametrize("case", [case for case in SEVERAL if case.K == 64], ids=str)
def test_fast(emulated: Runtime, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "attention", partial(ops.attention, precision="fast"))
    monkeypatch.setattr(test_attention, "TOLERANCE", FAST_TOLERANCE)
    test_attention.test_attention(emulated, "portable", case)


def test_the_check_sees_wrong_attention(
    emulating: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown by a window that it does not ask for; test_matmul_mma has the check pass."""
    launch = emulating.launch

    def narrowed(kernel: Any, items: Any, local: Any, *arguments: Any) -> None:
        if kernel.function_name == "attention_mma":
            *others, window, scale = arguments
            assert window == 0
            arguments = (*others, 40, scale)
        launch(kernel, items, local, *arguments)

    monkeypatch.setattr(emulating, "launch", narrowed)
    assert "attention is wrong by" in (nvidia.check(emulating, emulated=True) or "")


def test_scales(emulated: Runtime) -> None:
    """Queries that float16 does not hold, of any magnitude, are as exact as others."""
    rng = np.random.default_rng(5)
    T, H, K = 18, 3, 16
    q_THK = rng.standard_normal((T, H, K)).astype(np.float32)
    q_THK *= np.logspace(-20, 6, T, dtype=np.float32)[:, None, None]
    q_THK[4] = 0.0
    k_SGK = (rng.standard_normal((T, 1, K)) * 2.0**-19).astype(np.float16)
    v_SGK = (rng.standard_normal((T, 1, K)) * 1000).astype(np.float16)
    padding = ((0, ops.BLOCK - T), (0, 0), (0, 0))
    blocks = [np.pad(part, padding).swapaxes(0, 1)[None] for part in (k_SGK, v_SGK)]
    cache = ops.cache_from_numpy(emulated, *blocks, family="portable")
    table = emulated.from_numpy(np.zeros((1, 1), np.int32))
    plan = ops.plan_attention(
        emulated, [(T, 0)], table, n_heads=H, n_kv_heads=1, head_dim=K, family="portable"
    )
    expected = reference.attention(q_THK, k_SGK, v_SGK, np.arange(T))
    out, q = emulated.empty(q_THK.shape, np.float32), emulated.from_numpy(q_THK)
    ops.attention(q, cache, plan, out)
    assert_close(out.numpy(), expected, TOLERANCE)
    ops.attention(q, cache, plan, out, precision="fast")
    assert_close(out.numpy(), expected, FAST_TOLERANCE)
    assert reference.relative_rms(out.numpy(), expected) > TOLERANCE  # it is another way
