"""matmul on Intel AMX: every case of test_matmul, and shapes at the edges of its own tiles."""

import sys

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops.matmul_amx import GemmAmx
from tests import reference
from tests.ops import test_matmul
from tests.ops.guarded import Guarded
from tests.ops.test_matmul import CASES, Case

# The largest of some 10^4 errors, against the outputs' RMS; the kernel says what is lost.
TOLERANCE = {1: 2e-2, 2: 5e-5, 3: 4e-6}

OWN_CASES = [
    Case(32, 32, 32, bias=True),
    Case(32, 64, 31, accumulate=True),
    Case(33, 33, 33, bias=True, accumulate=True),
    Case(64, 96, 512, bias=True),
    Case(64, 32, 1100, accumulate=True),
    Case(16, 65, 2048, offset=1, stride_extra=3),
    Case(70, 300, 600, bias=True, segment_rows=150),
    Case(96, 64, 513, accumulate=True, bias=True),
    Case(545, 40, 64),
]


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("case", CASES + OWN_CASES, ids=str)
def test_products(
    amx_runtime: Runtime, parts: int, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules["cl_llama.ops.matmul"], "choose", lambda *_: GemmAmx(parts, parts)
    )
    monkeypatch.setattr(test_matmul, "TOLERANCE", TOLERANCE[parts])
    test_matmul.test_matmul(amx_runtime, "cpu", case)


def test_exact_products_beside_others(amx_runtime: Runtime) -> None:
    """One matrix meets the first two of the three parts, the other all of them."""
    rng = np.random.default_rng(5)
    x_TD = rng.standard_normal((20, 48)).astype(np.float32)
    w_ND = rng.standard_normal((40, 48)).astype(np.float16)
    weight = test_matmul._place(amx_runtime, w_ND, Case(20, 40, 48))
    outs = [Guarded(amx_runtime, np.zeros((20, 40), np.float32)) for _ in range(2)]
    products = [ops.Product(weight, outs[0].array), ops.Product(weight, outs[1].array, exact=True)]
    ops.matmul_each(amx_runtime.from_numpy(x_TD), products)
    expected = reference.matmul(x_TD, w_ND)
    errors = [reference.relative_rms(out.numpy(), expected) for out in outs]
    assert errors[1] < 5e-7 < 2e-6 < errors[0] < 6e-6
