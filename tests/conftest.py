"""Fixtures that every part of the suite shares.

Kernels built by one test are cached for the others and for child processes, in a folder that
starts empty and goes with the run. `CL_LLAMA_TEST_DEVICES` (ids of the report's header, or name
fragments, separated by commas) narrows the devices that the tests run on; simulators take part only
when it names them, and slow devices run a core of the tests unless it does.
"""

import functools
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cl_llama.opencl import amx
from cl_llama.opencl.devices import DeviceInfo, list_devices
from cl_llama.opencl.matrix_units import examine
from cl_llama.opencl.runtime import Family, Runtime, family_of

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Before pyopencl is imported: Mesa's rusticl offers a device only where it is told to.
os.environ.setdefault("RUSTICL_ENABLE", "llvmpipe")
CACHE_DIR = tempfile.mkdtemp(prefix="cl-llama-tests-")
os.environ["CL_LLAMA_CACHE_DIR"] = CACHE_DIR

# In children of tests/amx/emulation.py the instructions work, whatever the processor.
if os.environ.get("CL_LLAMA_TEST_AMX") == "emulated":
    AMX_FLAGS = amx.cpu_flags() | {"amx_tile", "amx_bf16", "amx_int8"}
    amx.cpu_flags = lambda: AMX_FLAGS

# A shell's background job ignores Ctrl-C, and so would the children that tests send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE_DIR, ignore_errors=True)


def pytest_report_header() -> str:
    described = [f"{device_id} ({d.label})" for device_id, d in run_devices().items()]
    return f"OpenCL devices: {', '.join(described) or 'none'}"


CORE_TESTS = {"test_attention.py", "test_elementwise.py", "test_matmul.py", "test_selection.py"}
"""Of tests/ops, what slow devices run: their drivers' compilers meet every kind of kernel."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        path = metafunc.definition.path
        core = path.parent.name == "opencl" or path.name in CORE_TESTS
        params = [
            pytest.param(d, id=device_id)
            for device_id, d in run_devices().items()
            if core or device_id not in slow_devices()
        ]
        if not params:
            skip = pytest.mark.skip(reason="no OpenCL device")
            params = [pytest.param(None, id="no-device", marks=skip)]
        metafunc.parametrize("device", params, indirect=True, scope="session")


@functools.cache
def run_devices() -> dict[str, DeviceInfo]:
    """The devices that the tests run on by a short id: those asked for, else every real one."""
    devices: dict[str, DeviceInfo] = {}
    for device in list_devices():
        device_id = _device_id(device)
        devices[device_id if device_id not in devices else f"{device_id}-{device.index}"] = device
    wanted = [w.strip().lower() for w in os.environ.get("CL_LLAMA_TEST_DEVICES", "").split(",")]
    if not any(wanted):
        return {i: d for i, d in devices.items() if d.type != "simulator"}
    chosen = set()
    for word in filter(None, wanted):
        matching = [i for i in devices if i == word] or [
            i for i, d in devices.items() if word in f"{i} {d.platform} {d.name}".lower()
        ]
        if not matching:
            raise pytest.UsageError(
                f"CL_LLAMA_TEST_DEVICES: {word!r} matches none of {', '.join(devices)}"
            )
        chosen.update(matching)
    return {device_id: d for device_id, d in devices.items() if device_id in chosen}


@functools.cache
def slow_devices() -> set[str]:
    """Those that take several times as long as another one beside them, unless they are named."""
    if os.environ.get("CL_LLAMA_TEST_DEVICES", "").strip(" ,"):
        return set()
    pocl = sorted(i for i in run_devices() if i.startswith("pocl-"))
    found = set(pocl[:-1]) | {i for i in run_devices() if i.startswith("llvmpipe")}
    return found if len(found) < len(run_devices()) else set()


def _device_id(device: DeviceInfo) -> str:
    pocl = re.search(r"PoCL (\d+\.\d+)", device.platform_version)
    if pocl:
        return f"pocl-{pocl[1]}"
    if device.is_cpu and device.platform.startswith("Intel"):
        return "intel"
    words = re.findall(r"[a-z0-9]+", device.name.lower().split("(")[0])
    return "-".join(words) or f"device-{device.index}"


@pytest.fixture(scope="session")
def device_infos() -> list[DeviceInfo]:
    """Every device that the suite runs on."""
    return list(run_devices().values())


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> DeviceInfo:
    """Each device that the suite runs on, in turn."""
    return request.param


@functools.cache
def _open(index: int, matrix_units: bool) -> Runtime:
    device = next(d for d in list_devices() if d.index == index)
    return Runtime(device, matrix_units=matrix_units)


@pytest.fixture(scope="session")
def runtime(device: DeviceInfo) -> Runtime:
    """A runtime on each device in turn, without matrix units; the tests of a device share it."""
    return _open(device.index, False)


@pytest.fixture(scope="session")
def amx_runtime(device: DeviceInfo) -> Runtime:
    """The same with Intel AMX; tests/amx runs the tests of it once more on an emulator."""
    found = examine("amx", device)
    if found.state != "works":
        pytest.skip(f"no AMX: {found.reason}")
    return _open(device.index, True)


@pytest.fixture(scope="session")
def vnni_runtime(device: DeviceInfo) -> Runtime:
    """The same with AVX-512 VNNI."""
    found = examine("vnni", device)
    if found.state != "works":
        pytest.skip(f"no VNNI: {found.reason}")
    return _open(device.index, True)


@pytest.fixture(params=["portable", "cpu"])
def family(request: pytest.FixtureRequest, device: DeviceInfo) -> Family:
    """The kernel family under test; the CPU family runs on CPU devices and simulators only."""
    if request.param == "cpu" and family_of(device) != "cpu" and device.type != "simulator":
        pytest.skip("the CPU family is for CPU devices")
    return request.param


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a file of the real test data, which lies beside the checkout and not in it."""

    def find(name: str) -> Path:
        path = SHARED_DATA / name
        if not path.exists():
            pytest.skip(f"no test data at {path}")
        return path

    return find
