"""Intel AMX: whether the processor has it, the kernel's permission, and a check that it computes.

The instructions work on any OpenCL runtime that runs kernels on the host's cores. Linux lets a
process use the tiles' registers only after it has asked ("Using XSTATE features in user space
applications", the kernel's documentation of x86); without that, they raise SIGILL.
"""

import ctypes
import errno
import functools
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cl_llama.opencl.devices import DeviceInfo

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import Runtime

_NEEDED_FLAGS = ("amx_tile", "amx_bf16")
_SYS_ARCH_PRCTL = 158
_ARCH_REQ_XCOMP_PERM = 0x1023
_XFEATURE_XTILE_DATA = 18
_ITEMS = 64  # of the check: enough that every thread of the runtime takes part on most machines


def absence(device: DeviceInfo) -> str | None:
    """Why the device has no AMX; None if the processor says that it has."""
    return lacks_flags(device, _NEEDED_FLAGS)


def lacks_flags(device: DeviceInfo, needed: Sequence[str]) -> str | None:
    """Why kernels on a device cannot use these features of the processor; None if they may."""
    if not device.is_cpu or "llvmpipe" in device.name.lower():
        return "kernels do not run on the processor's own instructions"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "it is used on x86-64 Linux only"
    missing = [flag for flag in needed if flag not in cpu_flags()]
    return f"the processor has no {' and no '.join(missing)}" if missing else None


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The features of the first processor as Linux lists them; empty if it does not."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "flags":
                    return frozenset(value.split())
    except OSError:
        pass
    return frozenset()


@functools.cache
def permission() -> str | None:
    """Ask for the tiles' registers, once a process; why not, or None if it is granted.

    It holds for all threads, those that the OpenCL runtime has started before as well.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError as error:
        return f"the C library cannot be called ({error})"
    numbers = (_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILE_DATA)
    if libc.syscall(*map(ctypes.c_long, numbers)) == 0:
        return None
    code = ctypes.get_errno()
    if code == errno.ENOSPC:
        return "Linux refuses: a thread of this process has too small a signal stack"
    return f"Linux refuses: {os.strerror(code)} (it takes Linux 5.16 or newer)"


def check(runtime: "Runtime") -> str | None:
    """Multiply small matrices; what went wrong, or None. May end the process.

    Raises:
        DeviceError: the kernel does not build or run.
    """
    rng = np.random.default_rng(0)
    # Sums of 32 products of integers up to 8: exact in bfloat16 and float32.
    a = rng.integers(-8, 9, (_ITEMS, 16, 32)).astype(np.float32)
    b = rng.integers(-8, 9, (_ITEMS, 32, 16)).astype(np.float32)
    pairs = np.ascontiguousarray(b.reshape(_ITEMS, 16, 2, 16).transpose(0, 1, 3, 2))
    out = runtime.empty((_ITEMS, 16, 16), np.float32)
    kernel = runtime.kernel("check_amx.cl", "check_amx", "bbb")
    operands = [runtime.from_numpy(_bf16(values)) for values in (a, pairs)]
    runtime.launch(kernel, (_ITEMS,), (1,), *operands, out)
    wrong = int(np.count_nonzero(out.numpy() != a @ b))
    return f"{wrong} of {a.shape[0] * 256} results are wrong" if wrong else None


def _bf16(
    values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    return (values.view(np.uint32) >> 16).astype(np.uint16)
