"""NVIDIA's devices: their compute capability, and a check of their tensor cores."""

from typing import TYPE_CHECKING

import numpy as np

from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.unit_products import check_products

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import DeviceArray, Runtime

_MMA_CAPABILITY = (8, 0)
_TILE, _TILE_D, _THREADS, _PACK_GROUP = 64, 32, 128, 64  # the kernels' defaults
_ATTENTION_ERROR = 1e-4
"""Of results of about 0.3; wrong elements are far off, rounding is some 1e-6."""


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
    """Small products and a small attention on the tensor cores; what went wrong, or None.

    Args:
        runtime: the device.
        emulated: let plain OpenCL C take the tensor cores' place, for tests.

    Raises:
        DeviceError: a kernel does not build or run.
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

    return check_products(runtime, multiply) or _check_attention(runtime, emulated)


def _check_attention(runtime: "Runtime", emulated: bool) -> str | None:
    """Twenty tokens of two heads after thirty others, in two blocks of the cache."""
    rng = np.random.default_rng(1)
    T, H, K, position, block = 20, 2, 64, 30, 32
    q_THK = rng.standard_normal((T, H, K)).astype(np.float32)
    k_SK, v_SK = rng.standard_normal((2, 2 * block, K)).astype(np.float16)
    k_SK[position + T :] = v_SK[position + T :] = np.nan  # what nobody has written
    table = np.array([[1, 0]], np.int32)
    inputs = (q_THK, *(part.reshape(2, block, K)[table[0]] for part in (k_SK, v_SK)), table)
    tile = np.array([[0, position, 0, 0, T * H]], np.int32)
    arrays = [runtime.from_numpy(array) for array in (*inputs, tile, np.full_like(q_THK, np.nan))]
    defines = {"K": K, "BLOCK": block, "PARTS": 2, "EMULATE": int(emulated)}
    kernel = runtime.kernel("attention_mma.cl", "attention_mma", "bbbbbbuuuuf", **defines)
    runtime.launch(kernel, (_THREADS, 1), (_THREADS, 1), *arrays, H, 1, 2, 0, K**-0.5)
    keys, values = (part[: position + T].astype(np.float64) for part in (k_SK, v_SK))
    scores_THS = q_THK @ keys.T * K**-0.5
    hidden_T1S = np.arange(position + T) > np.arange(position, position + T)[:, None, None]
    weights_THS = np.exp(np.where(hidden_T1S, -np.inf, scores_THS))
    expected = weights_THS / weights_THS.sum(axis=2, keepdims=True) @ values
    worst = float(np.max(np.abs(arrays[-1].numpy() - expected)))
    return None if worst < _ATTENTION_ERROR else f"attention is wrong by {worst:.1e}"
