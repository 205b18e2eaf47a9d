"""AVX-512 VNNI, products of bytes: whether the processor has it, and a check that it computes.

The instructions work on any OpenCL runtime that runs kernels on the host's cores.
"""

from typing import TYPE_CHECKING

import numpy as np

from cl_llama.opencl.amx import lacks_flags
from cl_llama.opencl.devices import DeviceInfo

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import Runtime

_NEEDED_FLAGS = ("avx512f", "avx512bw", "avx512_vnni")
_D = 64


def absence(device: DeviceInfo) -> str | None:
    """Why the device has no VNNI; None if the processor says that it has."""
    return lacks_flags(device, _NEEDED_FLAGS)


def check(runtime: "Runtime") -> str | None:
    """Multiply a small matrix of q8_0; what went wrong, or None. May end the process.

    Raises:
        DeviceError: a kernel does not build or run.
    """
    rng = np.random.default_rng(0)
    x_D = rng.integers(-8, 9, _D).astype(np.float32)
    w_ND = rng.integers(-128, 128, (16, _D)).astype(np.int8)
    scales = np.ones((2, 16), np.float16).view(np.uint8)
    words = w_ND.view(np.uint32).reshape(16, 2, 8).transpose(1, 2, 0)
    blocks = np.concatenate([scales, np.ascontiguousarray(words).view(np.uint8).reshape(2, -1)], 1)
    x, w = runtime.from_numpy(x_D[None]), runtime.from_numpy(np.ascontiguousarray(blocks))
    packed, out = runtime.empty((_D // 32, 36), np.uint32), runtime.empty((1, 16), np.float32)
    defines: dict[str, int | str] = {"FORMAT": "Q8_0", "LIMBS": 2}
    kernel = runtime.kernel("pack_bytes_cpu.cl", "pack_bytes", "bbfbuuu", **defines)
    runtime.launch(kernel, (1,), (1,), x, x, 0.0, packed, 1, _D, 0)
    types = "bllbbluu" * 3 + "buuuu"
    kernel = runtime.kernel("matmul_blocks_cpu.cl", "matmul_blocks", types, **defines, VNNI=1)
    matrix: tuple[object, ...] = (w, 0, blocks.nbytes, out, out, 16, 0)
    runtime.launch(kernel, (1,), (1,), *matrix, 16, *((*matrix, 0) * 2), packed, 1, _D, 1, 0)
    expected = w_ND.astype(np.float32) @ x_D
    worst = float(np.abs(out.numpy()[0] - expected).max())
    return None if worst < 1.0 else f"results are off by up to {worst:g}"
