"""NVIDIA's devices: their compute capability, and a check of their tensor cores."""

from typing import TYPE_CHECKING

import numpy as np

from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.unit_products import check_products

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import DeviceArray, Runtime

_MMA_CAPABILITY = (8, 0)
_TILE, _TILE_D, _THREADS, _PACK_GROUP = 64, 32, 128, 64  # the kernels' defaults


def nvidia_capability(device: DeviceInfo) -> tuple[int, int]:
    """Compute capability, major and minor, of a device of NVIDIA's driver; (0, 0) of others."""
    if "cl_nv_device_attribute_query" not in device.handle.extensions.split():
        return (0, 0)
    handle = device.handle
    return (int(handle.compute_capability_major_nv), int(handle.compute_capability_minor_nv))


def absence(device: DeviceInfo) -> str | None:
    """Why the device has no tensor cores that the kernels use; None if it has."""
    if device.type != "gpu":
        return "it is no GPU"
    found = nvidia_capability(device)
    if found == (0, 0):
        return "it is not run by NVIDIA's driver"
    if found < _MMA_CAPABILITY:
        return f"compute capability {found[0]}.{found[1]}, and 8.0 is needed"
    return None


def check(runtime: "Runtime", *, emulated: bool = False) -> str | None:
    """Multiply small matrices on the tensor cores; what went wrong, or None.

    Args:
        runtime: the device.
        emulated: let plain OpenCL C take the tensor cores' place, for tests.

    Raises:
        DeviceError: the kernel does not build or run.
    """

    def multiply(x: "DeviceArray", w: "DeviceArray", out: "DeviceArray", parts: int) -> None:
        (T, D), (N, _) = x.shape, w.shape
        defines = {"PARTS": parts, "ALIGNED": 1, "EMULATE": int(emulated)}
        packed = runtime.empty((T, parts * -(-D // _TILE_D) * _TILE_D + 8), np.float16)
        kernel = runtime.kernel("matmul_mma.cl", "pack_halves", "bbuu", **defines)
        runtime.launch(kernel, (T * _PACK_GROUP,), (_PACK_GROUP,), x, packed, T, D)
        kernel = runtime.kernel("matmul_mma.cl", "matmul_mma", "bllbbbluuuuu", **defines)
        items = (-(-N // _TILE) * _THREADS, -(-T // _TILE))
        values = (w.buffer, 0, D, packed, out, out, N, 0, T, N, D, 0)
        runtime.launch(kernel, items, (_THREADS, 1), *values)

    return check_products(runtime, multiply)
