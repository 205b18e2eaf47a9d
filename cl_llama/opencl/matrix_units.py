"""Matrix units of a device: used where a small run in a child process has proved that they work.

Their kernels hold instructions that other processors, drivers or settings do not know, and a wrong
guess there is not an error code but the end of the process. So a unit is used only if the device
says that it has it, the system permits it, and a child process has computed the right result with
it on the same device. What the child found is remembered in the cache, by processor, driver,
system and the check's own text, so that only the first start of all waits for it.
`CL_LLAMA_MATRIX_UNITS=off` switches all units off.
"""

import json
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from cl_llama.errors import DeviceError
from cl_llama.opencl import amx, intel, nvidia, vnni
from cl_llama.opencl.cache import private_folder, write_file
from cl_llama.opencl.child import ChildError, ChildTimeoutError, ask_child
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.programs import cache_key, expand_includes, kernels_dir

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import Runtime

logger = logging.getLogger(__name__)

MatrixUnit = Literal["amx", "mma", "dpas"]
"""Intel AMX; NVIDIA's tensor cores; XMX, the matrix engines of Intel's GPUs."""

UnitName = MatrixUnit | Literal["vnni"]
"""A matrix unit; or AVX-512 VNNI, products of bytes, which is used beside one."""

SWITCH = "CL_LLAMA_MATRIX_UNITS"

_FOLDER = "matrix-units"
_TIMEOUT = 120
_CHECK = "cl_llama.opencl.matrix_unit_check"

_unwritten: dict[str, str] = {}
"""Outcomes of this process's checks, where there is no folder to remember them in."""


@dataclass(frozen=True)
class Unit:
    """How a matrix unit is found.

    `absence` says why a device cannot have it, `permission` why this process may not use it and
    `check` what it computed wrongly; None from each is what is hoped for. Only `check`, with the
    kernels of `check_files`, executes its instructions.
    """

    absence: Callable[[DeviceInfo], str | None]
    permission: Callable[[], str | None]
    check: Callable[["Runtime"], str | None]
    check_files: tuple[str, ...]


UNITS: dict[UnitName, Unit] = {
    "amx": Unit(amx.absence, amx.permission, amx.check, ("check_amx.cl",)),
    "mma": Unit(nvidia.absence, lambda: None, nvidia.check, ("matmul_mma.cl", "attention_mma.cl")),
    "dpas": Unit(intel.absence, lambda: None, intel.check, ("matmul_dpas.cl",)),
    "vnni": Unit(
        vnni.absence, lambda: None, vnni.check, ("matmul_blocks_cpu.cl", "pack_bytes_cpu.cl")
    ),
}


@dataclass(frozen=True)
class Finding:
    """What is known of a matrix unit on a device: absent, failed or works, and why."""

    unit: UnitName
    state: Literal["absent", "failed", "works"]
    reason: str = ""


def switched_off() -> bool:
    """Whether the environment wants no matrix units.

    Raises:
        DeviceError: the variable has a value that means nothing.
    """
    value = os.environ.get(SWITCH, "on")
    if value.lower() not in ("on", "off", ""):
        raise DeviceError(f"{SWITCH} is {value!r}; it is 'on' or 'off'")
    return value.lower() == "off"


def find_matrix_unit(device: DeviceInfo) -> MatrixUnit | None:
    """The unit that kernels may use on a device, permitted to this process; None if there is none.

    Raises:
        DeviceError: the environment's switch has a value that means nothing.
    """
    if switched_off():
        return None
    for name in get_args(MatrixUnit):
        if _works(name, device):
            unit: MatrixUnit = name
            return unit
    return None


def has_vnni(device: DeviceInfo) -> bool:
    """Whether kernels may use AVX-512 VNNI on a device.

    Raises:
        DeviceError: the environment's switch has a value that means nothing.
    """
    return not switched_off() and _works("vnni", device)


def _works(name: UnitName, device: DeviceInfo) -> bool:
    if name not in UNITS:
        return False
    finding = examine(name, device)
    if finding.state != "works":
        logger.debug("%s: %s is %s: %s", device.label, name, finding.state, finding.reason)
    return finding.state == "works"


def examine(name: UnitName, device: DeviceInfo, *, again: bool = False) -> Finding:
    """What is known of a unit, from the cache or, at first and `again`, from a child process."""
    unit = UNITS[name]
    reason = unit.absence(device)
    if reason is not None:
        return Finding(name, "absent", reason)
    reason = unit.permission()
    if reason is not None:
        return Finding(name, "failed", reason)
    key = _key(name, device)
    if not again:
        remembered = _recall(key)
        if remembered is not None:
            return _finding(name, remembered)
    try:
        reason = _check_in_child(name, device)
    except ChildTimeoutError as error:
        return Finding(name, "failed", f"the check {error}")  # perhaps of a busy machine
    _remember(key, reason)
    return _finding(name, reason)


def distrust(name: UnitName, device: DeviceInfo, reason: str) -> None:
    """Remember that a unit fails, although its check may pass, until it is examined again."""
    _remember(_key(name, device), reason)


def _key(name: UnitName, device: DeviceInfo) -> str:
    sources = [expand_includes(kernels_dir(), file) for file in UNITS[name].check_files]
    return cache_key(device, "".join(sources), (name, platform.release()))


def _finding(name: UnitName, reason: str) -> Finding:
    return Finding(name, "failed", reason) if reason else Finding(name, "works")


def _recall(key: str) -> str | None:
    """Why a unit failed, empty if it works; None if it is not known."""
    folder = private_folder(_FOLDER)
    if folder is None:
        return _unwritten.get(key)
    try:
        content = json.loads((folder / f"{key}.json").read_bytes())
        return str(content["failure"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(key: str, reason: str) -> None:
    folder = private_folder(_FOLDER)
    if folder is None:
        _unwritten[key] = reason
    else:
        write_file(folder / f"{key}.json", json.dumps({"failure": reason}).encode())


def _check_in_child(name: UnitName, device: DeviceInfo) -> str:
    """Why the check failed, empty if it passed.

    Raises:
        ChildTimeoutError: it took too long.
    """
    arguments = (name, str(device.index), device.label)
    try:
        return str(ask_child(_CHECK, *arguments, timeout=_TIMEOUT))
    except ChildTimeoutError:
        raise
    except ChildError as error:
        return f"the check {error}"
