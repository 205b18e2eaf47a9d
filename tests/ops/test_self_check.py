"""The self-check passes on every device, and finds what is planted."""

import sys

import numpy as np
import pytest

from cl_llama.errors import KernelBuildError
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops.self_check import self_check

module = sys.modules["cl_llama.ops.self_check"]


def failures(runtime: Runtime) -> dict[str, str]:
    return {o.operation: o.failure for o in self_check(runtime) if o.failure}


def test_every_operation_is_right(runtime: Runtime) -> None:
    assert len(list(self_check(runtime))) == 16
    assert failures(runtime) == {}


def test_every_operation_is_right_with_amx(amx_runtime: Runtime) -> None:
    assert failures(amx_runtime) == {}


def spoil(monkeypatch: pytest.MonkeyPatch, name: str, value: float) -> None:
    """Let an operation write a value into the first element of its output."""
    original = getattr(module, name)

    def spoilt(*arguments: object, **options: object) -> None:
        original(*arguments, **options)
        out = arguments[0 if name == "swiglu" else -1]
        out.runtime.write(out.buffer, np.float32([value]))

    monkeypatch.setattr(module, name, spoilt)


def test_wrong_results_are_found(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "swiglu", 30.0)
    spoil(monkeypatch, "embedding", np.nan)
    found = failures(runtime)
    assert sorted(found) == ["embedding", "swiglu"]
    assert found["swiglu"].startswith("at (0, 0) it is 30, NumPy has ")
    assert found["embedding"].startswith("at (0, 0) it is nan, NumPy has ")


def test_a_kernel_that_does_not_build(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise KernelBuildError("softmax.cl does not build")

    monkeypatch.setattr(module, "softmax", refused)
    assert failures(runtime) == {"softmax": "softmax.cl does not build"}
