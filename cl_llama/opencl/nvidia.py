"""NVIDIA's devices: their compute capability, and a check of their tensor cores."""

from typing import TYPE_CHECKING

import numpy as np

from cl_llama.opencl.devices import DeviceInfo

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import Runtime

_MMA_CAPABILITY = (8, 0)
_TILE, _THREADS, _PACK_GROUP = 64, 128, 64  # the kernels' defaults


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
    """Multiply small matrices, activations in one and in two parts; what went wrong, or None.

    Args:
        runtime: the device.
        emulated: let plain OpenCL C take the tensor cores' place, for tests.

    Raises:
        DeviceError: the kernel does not build or run.
    """
    rng = np.random.default_rng(0)
    T, N, D = 70, 100, 72
    # Small integers: exact in one part, and in every order and rounding of the sums.
    x_TD = rng.integers(-8, 9, (T, D)).astype(np.float32)
    w_ND = rng.integers(-8, 9, (N, D)).astype(np.float16)
    expected = x_TD @ w_ND.astype(np.float32).T
    x, w = runtime.from_numpy(x_TD), runtime.from_numpy(w_ND)
    for parts in (1, 2):
        defines = {"PARTS": parts, "ALIGNED": 1, "EMULATE": int(emulated)}
        packed = runtime.empty((T, parts * 96 + 8), np.float16)
        out = runtime.from_numpy(np.full((T, N), np.nan, np.float32))
        kernel = runtime.kernel("matmul_mma.cl", "pack_mma", "bbuu", **defines)
        runtime.launch(kernel, (T * _PACK_GROUP,), (_PACK_GROUP,), x, packed, T, D)
        kernel = runtime.kernel("matmul_mma.cl", "matmul_mma", "bllbbbluuuuu", **defines)
        items = (-(-N // _TILE) * _THREADS, -(-T // _TILE))
        values = (w.buffer, 0, D, packed, out, out, N, 0, T, N, D, 0)
        runtime.launch(kernel, items, (_THREADS, 1), *values)
        wrong = int(np.count_nonzero(out.numpy() != expected))
        if wrong:
            return f"{wrong} of {out.nbytes // 4} results are wrong with {parts} parts"
    return None
