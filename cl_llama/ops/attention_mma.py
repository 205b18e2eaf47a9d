"""Attention of several new tokens on NVIDIA's tensor cores."""

from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.ops.attention_portable import Inputs
from cl_llama.ops.matmul import Precision

ROWS = 64
"""Most rows, pairs of a token and one of the heads that share a key head, of a tile."""
_THREADS = 128
_WIDEST = 256
"""Head width, whose sums just fit into registers."""


def suits(runtime: Runtime, head_dim: int) -> bool:
    """Whether a device computes heads of this width so; else the portable kernel does."""
    return runtime.matrix_unit == "mma" and takes(head_dim)


def takes(head_dim: int) -> bool:
    """Whether the kernel takes a head width: any multiple of 16 up to 256."""
    return head_dim % 16 == 0 and head_dim <= _WIDEST


def attend_tiles(
    inputs: Inputs,
    tiles: DeviceArray,
    out_THK: DeviceArray,
    window: int,
    scale: float,
    precision: Precision,
    *,
    emulated: bool = False,
) -> None:
    """Queue the kernel for sequences with several new tokens, in tiles of up to ROWS rows.

    `ops.attention` says what is computed, and checks the shapes. Under "high" queries and weights
    are two float16 numbers each, under "fast" one. `emulated` lets plain OpenCL C take the tensor
    cores' place, for tests.
    """
    q_THK, keys, _, tables = inputs
    runtime = q_THK.runtime
    _, H, K = q_THK.shape
    _, G, block, _ = keys.shape
    kernel = runtime.kernel(
        "attention_mma.cl",
        "attention_mma",
        "bbbbbbuuuuf",
        K=K,
        BLOCK=block,
        PARTS=1 if precision == "fast" else 2,
        EMULATE=int(emulated),
    )
    items = (tiles.shape[0] * _THREADS, G)
    sizes = (H, G, tables.shape[1], window, scale)
    runtime.launch(kernel, items, (_THREADS, 1), *inputs, tiles, out_THK, *sizes)
