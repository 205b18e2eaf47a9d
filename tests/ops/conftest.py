"""Fixtures of the operations' tests."""

import pytest

from cl_llama.opencl.runtime import Runtime


@pytest.fixture
def emulating(runtime: Runtime) -> Runtime:
    """A device whose compiler is known to get barriers in nested loops right.

    PoCL 3.0 and 3.1 compute some of the emulation wrongly, and llvmpipe takes minutes for it.
    """
    if not (runtime.device.platform.startswith("Intel") or runtime.device.type == "simulator"):
        pytest.skip("the emulation is not for this compiler")
    return runtime
