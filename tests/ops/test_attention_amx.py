"""Attention on Intel AMX: cases of test_attention, and shapes at the edges of its own tiles."""

import functools

import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops import attention_amx
from tests.ops import test_attention
from tests.ops.test_attention import CASES, Case

# The largest of some 10^4 errors, against the outputs' RMS; the kernel says what is lost.
TOLERANCE = {"fast": 5e-2, "high": 1e-4}

OWN_CASES = [
    Case(((2, 0),), H=1, G=1, K=32),
    Case(((33, 95),), H=2, G=2, K=96),
    Case(((40, 300),), H=8, G=1, K=64, window=100),
]
# Those with several new tokens of a sequence, and heads that the tiles take.
SHARED_CASES = [
    case for case in CASES if case.K % 32 == 0 and max(case.spans)[0] > 1 and case.softcap is None
]


@pytest.mark.parametrize(
    ("case", "precision"),
    [(case, "high") for case in SHARED_CASES + OWN_CASES] + [(case, "fast") for case in OWN_CASES],
    ids=str,
)
def test_tiles(
    amx_runtime: Runtime, case: Case, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend_tiles, used = attention_amx.attend_tiles, []

    def attend(*arguments: object) -> None:
        used.append(arguments[-1])
        attend_tiles(*arguments)

    monkeypatch.setattr(attention_amx, "attend_tiles", attend)
    monkeypatch.setattr(ops, "attention", functools.partial(ops.attention, precision=precision))
    monkeypatch.setattr(test_attention, "TOLERANCE", TOLERANCE[precision])
    test_attention.test_attention(amx_runtime, "cpu", case)
    assert used == [precision]
