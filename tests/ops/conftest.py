"""Every operation's tests run with each kernel family that a device can run."""

import pytest

from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Family, family_of


@pytest.fixture(params=["portable", "cpu"])
def family(request: pytest.FixtureRequest, device: DeviceInfo) -> Family:
    """The kernel family under test; the CPU family runs on CPU devices only."""
    if request.param == "cpu" and family_of(device) != "cpu":
        pytest.skip("the CPU family is for CPU devices")
    return request.param
