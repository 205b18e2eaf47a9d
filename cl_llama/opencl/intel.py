"""Intel's GPUs: their subgroups, and a check of their matrix engines."""

import ctypes
import functools
import sys
from typing import TYPE_CHECKING

import numpy as np

from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.loader import import_pyopencl
from cl_llama.opencl.unit_products import check_products

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import DeviceArray, Runtime

_NEEDED_EXTENSIONS = (
    "cl_intel_subgroup_matrix_multiply_accumulate",
    "cl_intel_required_subgroup_size",
    "cl_intel_subgroups",
    "cl_intel_subgroups_short",
)
_SUB_GROUP_SIZES = 0x4108  # CL_DEVICE_SUB_GROUP_SIZES_INTEL
_MOST_SIZES = 16
_MATRIX_SUBGROUPS = (8, 16)

_ROWS, _TILE_D, _PACK_GROUP = 8, 32, 64
_MT, _GROUPS_N, _GROUPS_T = 4, 2, 2  # the kernel's defaults


@functools.cache
def subgroup_sizes(device: DeviceInfo) -> tuple[int, ...]:
    """The subgroup sizes that a kernel may require, ascending; empty if it may require none."""
    if "cl_intel_required_subgroup_size" not in device.handle.extensions.split():
        return ()
    # pyopencl does not know this query: its loader is asked by the module that is linked to it.
    path = "OpenCL.dll" if sys.platform == "win32" else import_pyopencl()._cl.__file__
    try:
        query = ctypes.CDLL(path).clGetDeviceInfo
    except (OSError, AttributeError):
        return ()
    sizes, written = (ctypes.c_size_t * _MOST_SIZES)(), ctypes.c_size_t()
    error = query(
        ctypes.c_void_p(device.handle.int_ptr),
        ctypes.c_uint(_SUB_GROUP_SIZES),
        ctypes.c_size_t(ctypes.sizeof(sizes)),
        sizes,
        ctypes.byref(written),
    )
    if error:
        return ()
    return tuple(sorted(sizes[: written.value // ctypes.sizeof(ctypes.c_size_t)]))


def matrix_subgroup(device: DeviceInfo) -> int:
    """Items of a subgroup that the matrix engines work for, the fewest of the device; 0: none."""
    smallest = min(subgroup_sizes(device), default=0)
    return smallest if smallest in _MATRIX_SUBGROUPS else 0


def absence(device: DeviceInfo) -> str | None:
    """Why the device has no matrix engines that the kernels use; None if it has."""
    if device.type != "gpu":
        return "it is no GPU"
    extensions = device.handle.extensions.split()
    missing = [name for name in _NEEDED_EXTENSIONS if name not in extensions]
    if missing:
        return f"its driver has no {' and no '.join(missing)}"
    if not matrix_subgroup(device):
        return f"its subgroups are {subgroup_sizes(device) or 'unknown'}, not of 8 or 16 at least"
    return None


def check(runtime: "Runtime", *, emulated: int | None = None) -> str | None:
    """Multiply small matrices on the matrix engines; what went wrong, or None.

    Args:
        runtime: the device.
        emulated: let plain OpenCL C take the place of engines with so many items a subgroup.

    Raises:
        DeviceError: the kernel does not build or run.
    """
    subgroup = emulated or matrix_subgroup(runtime.device)
    threads = subgroup * _GROUPS_N * _GROUPS_T

    def multiply(x: "DeviceArray", w: "DeviceArray", out: "DeviceArray", parts: int) -> None:
        (T, D), (N, _) = x.shape, w.shape
        defines = {
            "SUBGROUP": subgroup,
            "PARTS": parts,
            "WHOLE": int(D % _TILE_D == 0),
            "EMULATE": int(emulated is not None),
        }
        tiles, columns = -(-T // subgroup), -(-D // _TILE_D) * _TILE_D
        packed = runtime.empty((tiles * subgroup * parts * columns + 2 * T,), np.float16)
        kernel = runtime.kernel("matmul_dpas.cl", "pack_halves", "bbuu", **defines)
        runtime.launch(kernel, (T * _PACK_GROUP,), (_PACK_GROUP,), x, packed, T, D)
        kernel = runtime.kernel("matmul_dpas.cl", "matmul_dpas", "bllbbbluuuuu", **defines)
        items = (-(-N // (_ROWS * _MT * _GROUPS_N)) * threads, -(-tiles // _GROUPS_T))
        values = (w.buffer, 0, D, packed, out, out, N, 0, T, N, D, 0)
        runtime.launch(kernel, items, (threads, 1), *values)

    return check_products(runtime, multiply)
