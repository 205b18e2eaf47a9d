"""Description, order and choice of devices, on made-up platforms; then on what is installed."""

import json
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from cl_llama.errors import DeviceError
from cl_llama.opencl import devices as devices_module
from cl_llama.opencl.devices import (
    DeviceInfo,
    Inventory,
    choose,
    inventory_of,
    list_devices,
    opencl_version,
    select_device,
    take_inventory,
)
from cl_llama.opencl.install_hint import packages_hint

CPU, GPU, ACCELERATOR, CUSTOM, EVERYTHING = 2, 4, 8, 16, 15
GIB = 2**30


class FakeError(Exception):
    pass


class FakeDevice(SimpleNamespace):
    def __getattr__(self, name):
        raise AttributeError(name)


def fake_device(name: str, kind: int, **changes) -> FakeDevice:
    properties = {
        "name": name,
        "type": kind,
        "vendor": "Vendor",
        "driver_version": "1.0",
        "version": "OpenCL 3.0",
        "extensions": "cl_khr_fp16 cl_khr_icd",
        "global_mem_size": 8 * GIB,
        "max_mem_alloc_size": 2 * GIB,
        "max_compute_units": 4,
        "available": True,
        "compiler_available": True,
        "host_unified_memory": False,
        "max_num_sub_groups": 0,
    }
    return FakeDevice(**(properties | changes))


class FakePlatform:
    def __init__(self, name: str, *devices, version: str = "OpenCL 3.0", error: str | None = None):
        self.name, self.version = name, version
        self.devices, self.error = list(devices), error

    def get_devices(self):
        if self.error is not None:
            raise FakeError(self.error)
        return self.devices


OCLGRIND = FakePlatform("Oclgrind", fake_device("Oclgrind Simulator", EVERYTHING))
INTEL = FakePlatform(
    "Intel(R) OpenCL", fake_device("Intel(R) Xeon(R)", CPU, version="OpenCL 3.1 (Build 0)")
)
POCL_NEW = FakePlatform(
    "Portable Computing Language",
    fake_device("pthread-skylake-Intel(R) Xeon(R)", CPU, driver_version="3.1+debian"),
    version="OpenCL 3.0 PoCL 3.1+debian  Linux",
)
POCL_OLD = FakePlatform(
    "Portable Computing Language",
    fake_device("pthread-Intel(R) Xeon(R)", CPU, driver_version="3.0-rc2"),
    version="OpenCL 3.0 PoCL 3.0-rc2  Linux",
)
LLVMPIPE = FakePlatform("rusticl", fake_device("llvmpipe (LLVM 15, 256 bits)", GPU))
CLOVER = FakePlatform("Clover", error="clGetDeviceIDs failed: DEVICE_NOT_FOUND")


def inventory(*platforms: FakePlatform) -> Inventory:
    return inventory_of(platforms, FakeError)


def default_name(*platforms: FakePlatform) -> str:
    return choose(inventory(*platforms), None).name


def names(found: Sequence[DeviceInfo]) -> list[str]:
    return [device.name for device in found]


def test_numbers_follow_the_loader_with_simulators_last():
    found = inventory(OCLGRIND, POCL_OLD, LLVMPIPE, INTEL).devices
    assert [d.index for d in found] == [0, 1, 2, 3]
    assert [d.type for d in found] == ["cpu", "cpu", "cpu", "simulator"]
    assert [d.platform for d in found][-1] == "Oclgrind"
    assert names(found)[0] == "pthread-Intel(R) Xeon(R)"


def test_platforms_without_a_device_are_passed_over_with_the_reason():
    broken = FakePlatform("Broken", error="clGetDeviceIDs failed: OUT_OF_HOST_MEMORY")
    found = inventory(CLOVER, broken, FakePlatform("Empty"), INTEL)
    assert names(found.devices) == ["Intel(R) Xeon(R)"]
    assert found.skipped == (
        "Clover: it has no device",
        "Broken: clGetDeviceIDs failed: OUT_OF_HOST_MEMORY",
        "Empty: it has no device",
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"available": False}, "P: D is not available"),
        ({"compiler_available": False}, "P: D has no compiler for OpenCL C"),
        ({"type": CUSTOM}, "P: D is a custom device, which runs no OpenCL C"),
    ],
)
def test_devices_that_cannot_run_kernels_are_passed_over(changes, reason):
    found = inventory(FakePlatform("P", fake_device("D", GPU, **changes)))
    assert found.devices == ()
    assert found.skipped == (reason,)


def test_a_device_that_fails_to_describe_itself_is_passed_over():
    class Lost(FakeDevice):
        @property
        def global_mem_size(self):
            raise FakeError("clGetDeviceInfo failed: DEVICE_NOT_AVAILABLE")

    properties = vars(fake_device("Lost", GPU))
    del properties["global_mem_size"]
    found = inventory(FakePlatform("P", Lost(**properties), fake_device("Fine", GPU)))
    assert names(found.devices) == ["Fine"]
    assert "DEVICE_NOT_AVAILABLE" in found.skipped[0]


def test_description():
    gpu = fake_device(
        "  Some\0 GPU ", GPU, extensions="cl_khr_fp16", version="OpenCL 2.1", max_num_sub_groups=8
    )
    (info,) = inventory(FakePlatform("P", gpu, version="OpenCL 2.1 X")).devices
    assert info.name == "Some GPU"
    assert info.label == "0 P: Some GPU"
    assert (info.fp16, info.subgroups, info.unified_memory, info.is_cpu) == (
        True,
        True,
        False,
        False,
    )
    assert (info.global_mem_bytes, info.max_alloc_bytes, info.compute_units) == (
        8 * GIB,
        2 * GIB,
        4,
    )
    assert info.handle is gpu
    assert "handle" not in repr(info)


@pytest.mark.parametrize(
    ("version", "extensions", "count", "expected"),
    [
        ("OpenCL 1.2", "", 8, False),
        ("OpenCL 1.2", "cl_khr_subgroups", 0, True),
        ("OpenCL 2.0", "cl_intel_subgroups", 0, True),
        ("OpenCL 3.0", "", 0, False),
        ("OpenCL 3.0", "", 16, True),
    ],
)
def test_subgroups(version, extensions, count, expected):
    device = fake_device("D", GPU, version=version, extensions=extensions, max_num_sub_groups=count)
    assert inventory(FakePlatform("P", device)).devices[0].subgroups is expected


def test_cpu_memory_is_the_hosts_where_the_runtime_reports_less(monkeypatch):
    monkeypatch.setattr(devices_module, "host_memory_bytes", lambda: 16 * GIB)
    small = fake_device("CPU", CPU, global_mem_size=2 * GIB)
    large = fake_device("CPU", CPU, global_mem_size=32 * GIB)
    gpu = fake_device("GPU", GPU, global_mem_size=2 * GIB)
    found = inventory(FakePlatform("P", small, large, gpu)).devices
    assert [d.global_mem_bytes for d in found] == [16 * GIB, 32 * GIB, 2 * GIB]


GTX = FakePlatform("NVIDIA CUDA", fake_device("GTX", GPU))
BIG = FakePlatform("AMD", fake_device("BIG", GPU, global_mem_size=64 * GIB))
BIG_MESA = FakePlatform("rusticl", fake_device("BIG MESA", GPU, global_mem_size=65 * GIB))
IRIS = FakePlatform("Intel(R) OpenCL Graphics", fake_device("Iris", GPU, host_unified_memory=True))
NPU = FakePlatform("NPU", fake_device("NPU", ACCELERATOR))
FPGA = FakePlatform("Intel(R) FPGA", fake_device("Intel(R) FPGA Emulation Device", ACCELERATOR))


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [
        ((OCLGRIND, INTEL, NPU, IRIS, GTX), "GTX"),
        ((OCLGRIND, INTEL, NPU, IRIS), "Iris"),
        ((OCLGRIND, INTEL, NPU), "NPU"),
        ((OCLGRIND, LLVMPIPE, POCL_OLD, POCL_NEW, INTEL), "Intel(R) Xeon(R)"),
        ((OCLGRIND, LLVMPIPE, POCL_OLD, POCL_NEW), "pthread-skylake-Intel(R) Xeon(R)"),
        ((OCLGRIND, LLVMPIPE, POCL_OLD), "pthread-Intel(R) Xeon(R)"),
        ((OCLGRIND, LLVMPIPE), "llvmpipe (LLVM 15, 256 bits)"),
        ((FPGA, POCL_OLD), "pthread-Intel(R) Xeon(R)"),
        ((GTX, BIG), "BIG"),
        ((BIG_MESA, GTX, BIG), "BIG"),
    ],
)
def test_default_is_the_best_device(platforms, expected):
    found = inventory(*platforms).devices
    assert default_name(*platforms) == expected
    assert [d.name for d in found if d.is_default] == [expected]


ALL = inventory(OCLGRIND, INTEL, POCL_NEW, POCL_OLD, LLVMPIPE)


@pytest.mark.parametrize(
    ("selector", "index"),
    [
        (0, 0),
        (4, 4),
        ("3", 3),
        (" 2 ", 2),
        ("Intel(R) OpenCL", 0),
        ("intel(r)  opencl", 0),
        ("SKYLAKE", 1),
        ("language pthread-intel", 2),
        ("llvmpipe", 3),
        ("oclgrind", 4),
        ("3.1+debian", 1),
        ("pocl 3.0", 2),
    ],
)
def test_choice(selector, index):
    assert choose(ALL, selector).index == index


LISTING = (
    "0 Intel(R) OpenCL: Intel(R) Xeon(R), "
    "1 Portable Computing Language: pthread-skylake-Intel(R) Xeon(R), "
    "2 Portable Computing Language: pthread-Intel(R) Xeon(R), "
    "3 rusticl: llvmpipe (LLVM 15, 256 bits), "
    "4 Oclgrind: Oclgrind Simulator"
)


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (5, f"device 5 does not exist; there is {LISTING}"),
        (-1, f"device -1 does not exist; there is {LISTING}"),
        ("17", f"device 17 does not exist; there is {LISTING}"),
        ("-1", f"device -1 does not exist; there is {LISTING}"),
        ("9" * 5000, f"device '{'9' * 5000}' matches no device; there is {LISTING}"),
        (1.5, f"device is a number or a name, got 1.5; there is {LISTING}"),
        ("radeon", f"device 'radeon' matches no device; there is {LISTING}"),
        ("", f"device is an empty name; there is {LISTING}"),
        ("  ", f"device is an empty name; there is {LISTING}"),
        (
            "portable",
            "device 'portable' matches 2 devices: "
            "1 Portable Computing Language: pthread-skylake-Intel(R) Xeon(R), "
            "2 Portable Computing Language: pthread-Intel(R) Xeon(R); "
            "give a number or a longer part of the name",
        ),
    ],
)
def test_wrong_choices_are_one_line_that_lists_the_devices(selector, message):
    with pytest.raises(DeviceError) as error:
        choose(ALL, selector)
    assert str(error.value) == message


def test_one_name_on_two_platforms():
    found = inventory(
        FakePlatform("First", fake_device("Ryzen", CPU)),
        FakePlatform("Second", fake_device("Ryzen", CPU)),
    )
    with pytest.raises(DeviceError) as error:
        choose(found, "ryzen")
    assert str(error.value) == (
        "device 'ryzen' matches 2 devices: 0 First: Ryzen, 1 Second: Ryzen; it is one name on "
        "several platforms, so give a number or a part of the platform's name"
    )
    assert choose(found, "second").index == 1


def test_a_simulator_is_never_the_default():
    with pytest.raises(DeviceError, match=r"only simulators were found.*0 Oclgrind"):
        choose(inventory(OCLGRIND), None)
    assert choose(inventory(OCLGRIND), "oclgrind").type == "simulator"


@pytest.mark.parametrize("selector", [None, 0, "intel"])
def test_no_device_says_what_to_install(selector, monkeypatch):
    monkeypatch.setattr(devices_module, "install_hint", lambda: "install one")
    with pytest.raises(DeviceError) as error:
        choose(inventory(), selector)
    assert str(error.value) == "no OpenCL device was found; install one"
    with pytest.raises(DeviceError) as error:
        choose(inventory(CLOVER), selector)
    assert str(error.value) == (
        "no OpenCL device was found (passed over: Clover: it has no device); install one"
    )


@pytest.mark.parametrize(
    ("system", "machine", "os_release", "words"),
    [
        ("linux", "x86_64", "ID=debian\n", ['pip install "cl-llama[cpu]"', "apt install"]),
        ("linux", "x86_64", "ID=linuxmint\nID_LIKE='ubuntu debian'\n", ["intel-opencl-icd"]),
        ("linux", "aarch64", "ID=ubuntu\n", ["apt install pocl-opencl-icd"]),
        ("linux", "x86_64", 'ID="fedora"\n', ["dnf install", "intel-compute-runtime"]),
        ("linux", "x86_64", "ID=arch\n", ["pacman -S", "opencl-nvidia"]),
        ("linux", "x86_64", "ID=plan9\n", ['pip install "cl-llama[cpu]"', "vendor"]),
        ("linux", "riscv64", None, ["vendor"]),
        ("darwin", "arm64", None, ["macOS", "conda"]),
        ("win32", "AMD64", None, ["driver", "CPU Runtime"]),
    ],
)
def test_install_hint(system, machine, os_release, words, tmp_path):
    path = tmp_path / "os-release"
    if os_release is not None:
        path.write_text(os_release)
    hint = packages_hint(system, machine, path)
    assert "\n" not in hint
    for word in words:
        assert word in hint
    assert ("cl-llama[cpu]" in hint) == (system == "linux" and machine == "x86_64")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("OpenCL 3.1 (Build 0)", (3, 1)), ("OpenCL 1.2", (1, 2)), ("", (1, 0)), ("junk", (1, 0))],
)
def test_opencl_version(text, expected):
    assert opencl_version(text) == expected


def test_environment_chooses_where_the_caller_does_not(device_infos, monkeypatch):
    if not device_infos:
        pytest.skip("no OpenCL device")
    last = list_devices()[-1].index
    monkeypatch.setenv("CL_LLAMA_DEVICE", str(last))
    assert select_device(None).index == last
    assert select_device(0).index == 0
    monkeypatch.setenv("CL_LLAMA_DEVICE", "99")
    with pytest.raises(DeviceError, match=r"^CL_LLAMA_DEVICE 99 does not exist; there is 0 "):
        select_device(None)
    monkeypatch.setenv("CL_LLAMA_DEVICE", " ")
    assert select_device(None).is_default


def test_installed_devices(device):
    listed = list_devices()
    assert (listed[device.index].label, listed[device.index].handle) == (
        device.label,
        device.handle,
    )
    assert select_device(device.index).handle == device.handle
    assert select_device(str(device.index)).handle == device.handle
    assert device.type in ("gpu", "cpu", "accelerator")
    assert device.max_alloc_bytes > 0
    assert device.global_mem_bytes > 0
    assert device.compute_units > 0
    assert device.name
    assert device.platform
    assert device.driver
    assert sum(d.is_default for d in listed) == 1
    json.dumps(take_inventory().skipped)
