"""Lists, describes and selects OpenCL devices.

A device's number is its place in the flat list of all platforms' devices, in the loader's order,
simulators last; it is the same in `cl-llama devices`, in `--opencl-device` and in Python.
"""

import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from cl_llama.errors import DeviceError
from cl_llama.opencl.host_memory import host_memory_bytes
from cl_llama.opencl.install_hint import install_hint
from cl_llama.opencl.loader import import_pyopencl, loader_problems

if TYPE_CHECKING:
    import pyopencl as cl

DeviceType = Literal["gpu", "cpu", "accelerator", "simulator"]

_CPU_BIT, _GPU_BIT, _ACCELERATOR_BIT = 2, 4, 8  # CL_DEVICE_TYPE_*
_SIMULATOR_NAMES = ("oclgrind", "fpga emulation")
_SOFTWARE_GPU_NAMES = ("llvmpipe", "softpipe")


@dataclass(frozen=True)
class DeviceInfo:
    """One OpenCL device, as listed.

    `version` is the device's own OpenCL version string, `platform_version` the platform's.
    `handle` is the pyopencl device.
    """

    index: int
    platform: str
    name: str
    type: DeviceType
    vendor: str
    driver: str
    version: str
    platform_version: str
    global_mem_bytes: int
    max_alloc_bytes: int
    compute_units: int
    fp16: bool
    subgroups: bool
    unified_memory: bool
    is_default: bool
    handle: "cl.Device" = field(compare=False, repr=False)

    @property
    def is_cpu(self) -> bool:
        """Whether kernels run on the host's cores, which wants other kernels than a GPU."""
        return self.type == "cpu"

    @property
    def label(self) -> str:
        """Number, platform and name: how messages speak of the device."""
        return f"{self.index} {self.platform}: {self.name}"


@dataclass(frozen=True)
class Inventory:
    """What an enumeration found.

    `skipped` has a line for every runtime, platform or device that cannot be used: the reason.
    """

    devices: tuple[DeviceInfo, ...]
    skipped: tuple[str, ...]


def list_devices() -> list[DeviceInfo]:
    """Every usable OpenCL device; empty where there is none.

    Raises:
        DeviceError: pyopencl cannot be imported.
    """
    return list(take_inventory().devices)


def take_inventory() -> Inventory:
    """Every usable OpenCL device, and what was left out and why.

    Raises:
        DeviceError: pyopencl cannot be imported.
    """
    cl = import_pyopencl()
    try:
        platforms = cl.get_platforms()
    except cl.Error:  # PLATFORM_NOT_FOUND_KHR: no driver is installed
        platforms = []
    found = inventory_of(platforms, cl.Error)
    return replace(found, skipped=(*loader_problems(), *found.skipped))


def select_device(selector: int | str | None = None) -> DeviceInfo:
    """The device that a selector means.

    Args:
        selector: a number of `list_devices()`, as int or digits; a fragment of the platform's and
            device's names, case ignored; None: the environment's CL_LLAMA_DEVICE, else the
            default device.

    Raises:
        DeviceError: there is no device, none matches, or several do; the message lists them.
    """
    inventory = take_inventory()
    source = "device"
    if selector is None and os.environ.get("CL_LLAMA_DEVICE", "").strip():
        selector = os.environ["CL_LLAMA_DEVICE"]
        source = "CL_LLAMA_DEVICE"
    return choose(inventory, selector, source)


def choose(inventory: Inventory, selector: int | str | None, source: str = "device") -> DeviceInfo:
    """The device of an inventory that a selector means (see `select_device`).

    Args:
        inventory: what there is to choose from.
        selector: a number, a name fragment, or None for the default.
        source: where the selector came from, for messages.

    Raises:
        DeviceError: there is no device, none matches, or several do; the message lists them.
    """
    devices = inventory.devices
    if not devices:
        skipped = f" (passed over: {'; '.join(inventory.skipped)})" if inventory.skipped else ""
        raise DeviceError(f"no OpenCL device was found{skipped}; {install_hint()}")
    if selector is None:
        for device in devices:
            if device.is_default:
                return device
        raise DeviceError(
            f"only simulators were found ({_listing(devices)}), which run when asked for by "
            f"number or name; for a real device, {install_hint()}"
        )
    if isinstance(selector, str):
        fragment = " ".join(selector.split()).lower()
        if re.fullmatch(r"[+-]?[0-9]{1,9}", fragment):
            selector = int(fragment)
        else:
            return _by_name(devices, fragment, selector, source)
    try:
        index = operator.index(selector)
    except TypeError:
        raise DeviceError(
            f"{source} is a number or a name, got {selector!r}; there is {_listing(devices)}"
        ) from None
    if not 0 <= index < len(devices):
        raise DeviceError(f"{source} {index} does not exist; there is {_listing(devices)}")
    return devices[index]


def _by_name(
    devices: Sequence[DeviceInfo], fragment: str, selector: str, source: str
) -> DeviceInfo:
    """The only device whose platform, else whose names, else whose versions contain the fragment.

    The platform goes first because CPU devices of every platform carry the processor's name.
    """
    if not fragment:
        raise DeviceError(f"{source} is an empty name; there is {_listing(devices)}")
    matches = [d for d in devices if fragment in d.platform.lower()]
    if len(matches) != 1:
        matches = [d for d in devices if fragment in f"{d.platform} {d.name}".lower()]
    if not matches:
        matches = [d for d in devices if fragment in f"{d.platform_version} {d.driver}".lower()]
    if not matches:
        raise DeviceError(f"{source} {selector!r} matches no device; there is {_listing(devices)}")
    if len(matches) > 1:
        same_name = len({d.name for d in matches}) == 1
        several_platforms = len({d.platform for d in matches}) > 1
        advice = (
            "it is one name on several platforms, so give a number or a part of the platform's name"
            if same_name and several_platforms
            else "give a number or a longer part of the name"
        )
        raise DeviceError(
            f"{source} {selector!r} matches {len(matches)} devices: {_listing(matches)}; {advice}"
        )
    return matches[0]


def _listing(devices: Sequence[DeviceInfo]) -> str:
    return ", ".join(device.label for device in devices)


def inventory_of(platforms: Iterable[Any], cl_error: type[Exception]) -> Inventory:
    """Describe the devices of pyopencl platforms, number them and mark the default.

    Args:
        platforms: `pyopencl.get_platforms()`, or objects with the same attributes.
        cl_error: the exception that failing queries raise.
    """
    found: list[DeviceInfo] = []
    skipped: list[str] = []
    for position, platform in enumerate(platforms):
        name = f"platform {position}"
        try:
            name = _clean(platform.name) or name
            platform_version = _clean(platform.version)
            handles = platform.get_devices()
        except cl_error as error:
            skipped.append(f"{name}: {_reason(error)}")
            continue
        if not handles:
            skipped.append(f"{name}: it has no device")
        for handle in handles:
            try:
                found.append(_describe(handle, name, platform_version, cl_error))
            except cl_error as error:
                skipped.append(f"{name}: a device does not describe itself ({_reason(error)})")
            except _UnusableError as error:
                skipped.append(f"{name}: {error}")
    found.sort(key=lambda device: device.type == "simulator")
    found = [replace(device, index=index) for index, device in enumerate(found)]
    candidates = [device for device in found if device.type != "simulator"]
    if candidates:
        best = min(candidates, key=_preference).index
        found[best] = replace(found[best], is_default=True)
    return Inventory(tuple(found), tuple(skipped))


class _UnusableError(Exception):
    """A device that cannot run kernels; the text says why."""


def _describe(
    handle: Any, platform: str, platform_version: str, cl_error: type[Exception]
) -> DeviceInfo:
    name = _clean(handle.name)
    if not handle.available:
        raise _UnusableError(f"{name} is not available")
    if not handle.compiler_available:
        raise _UnusableError(f"{name} has no compiler for OpenCL C")
    kind = _type_of(name, platform, handle.type)
    extensions = handle.extensions.split()
    version = _clean(handle.version)
    subgroups = "cl_khr_subgroups" in extensions or "cl_intel_subgroups" in extensions
    if not subgroups and opencl_version(version) >= (2, 1):
        subgroups = bool(_query(lambda: handle.max_num_sub_groups, cl_error, 0))
    memory = int(handle.global_mem_size)
    if kind == "cpu":
        memory = max(memory, host_memory_bytes())
    return DeviceInfo(
        index=-1,
        platform=platform,
        name=name,
        type=kind,
        vendor=_clean(handle.vendor),
        driver=_clean(handle.driver_version),
        version=version,
        platform_version=platform_version,
        global_mem_bytes=memory,
        max_alloc_bytes=int(handle.max_mem_alloc_size),
        compute_units=int(handle.max_compute_units),
        fp16="cl_khr_fp16" in extensions,
        subgroups=subgroups,
        unified_memory=kind == "cpu"
        or bool(_query(lambda: handle.host_unified_memory, cl_error, False)),
        is_default=False,
        handle=handle,
    )


def _type_of(name: str, platform: str, bits: int) -> DeviceType:
    """The type that names and type bits tell: Oclgrind's bits claim every type."""
    names = f"{platform} {name}".lower()
    if any(word in names for word in _SIMULATOR_NAMES):
        return "simulator"
    if any(word in names for word in _SOFTWARE_GPU_NAMES) or bits & _CPU_BIT:
        return "cpu"
    if bits & _GPU_BIT:
        return "gpu"
    if bits & _ACCELERATOR_BIT:
        return "accelerator"
    raise _UnusableError(f"{name} is a custom device, which runs no OpenCL C")


def _preference(device: DeviceInfo) -> tuple[float, ...]:
    """Sort key, best device first; the number decides between equals.

    GPUs: the vendor's own driver before Mesa's and PoCL's for the same chip, then more memory.
    CPUs: llvmpipe last; then the newer OpenCL (Intel's runtime is ahead of PoCL), Intel's before
    others, the newer PoCL (the 3.0 from pip compiles for an older target, 3-5 times slower).
    """
    names = f"{device.platform} {device.name}".lower()
    if device.type == "gpu":
        second_hand = any(w in names for w in ("rusticl", "clover", "portable computing language"))
        return (device.unified_memory, second_hand, -device.global_mem_bytes, device.index)
    if device.type == "accelerator":
        return (2, -device.global_mem_bytes, device.index)
    slow = any(word in names for word in _SOFTWARE_GPU_NAMES)
    major, minor = opencl_version(device.version)
    pocl = re.search(r"PoCL (\d+)\.(\d+)", device.platform_version)
    pocl_version = (int(pocl[1]), int(pocl[2])) if pocl else (0, 0)
    intel = device.platform.startswith("Intel")
    return (3, slow, -major, -minor, not intel, -pocl_version[0], -pocl_version[1], device.index)


def opencl_version(text: str) -> tuple[int, int]:
    """Major and minor number of a string like "OpenCL 3.0 PoCL ..."; (1, 0) if it has none."""
    found = re.match(r"OpenCL (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (1, 0)


def _clean(text: str) -> str:
    """Driver strings come padded, with NULs or with runs of blanks."""
    return " ".join(text.replace("\0", " ").split())


def _reason(error: Exception) -> str:
    text = _clean(str(error))
    return "it has no device" if "DEVICE_NOT_FOUND" in text else text


def _query(read: Callable[[], Any], cl_error: type[Exception], otherwise: Any) -> Any:
    """A property that older or incomplete drivers do not know."""
    try:
        return read()
    except (cl_error, AttributeError):
        return otherwise
