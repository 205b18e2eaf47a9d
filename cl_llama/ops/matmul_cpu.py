"""Products with weight matrices on the host's cores."""

import numpy as np

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.matmul_method import ARGUMENTS, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

_GEMV_TILE_N, _GEMV_TILE_T = 4, 4
_GEMM_TILES = {"TILE_T": 12, "TILE_D": 256, "TILE_N": 64}
_ITEMS_PER_UNIT = 4
"""Work-items that each core should have at least, so that the cores finish together."""


class GemvCpu:
    """A few rows of activations: the weights stream past them once."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """The activations as they are."""
        return x_TD

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernel."""
        T, N, _ = sizes
        tiles = {"TILE_N": _GEMV_TILE_N, "TILE_T": 1 if T == 1 else _GEMV_TILE_T}
        kernel = x.runtime.kernel("matmul_gemv_cpu.cl", "matmul_gemv", ARGUMENTS + "u", **tiles)
        items = ceil_div(N, _GEMV_TILE_N)
        x.runtime.launch(kernel, (items,), (1,), *arguments(x, segment, product), *sizes, flags)


class GemmCpu:
    """Many rows of activations: weights are widened a block at a time and meet all of them."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """f32 [tiles, D padded to 16, rows a tile]."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        tiles, D_padded, _ = shape = packed_shape(T, D)
        packed = runtime.scratch("packed_rows", shape, np.float32)
        kernel = runtime.kernel("matmul_gemm_cpu.cl", "pack_rows", "bbuu", **_GEMM_TILES)
        runtime.launch(kernel, (tiles, D_padded // 16), (1, 1), x_TD, packed, T, D)
        return packed

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernel."""
        T, N, _ = sizes
        runtime = x.runtime
        kernel = runtime.kernel(
            "matmul_gemm_cpu.cl", "matmul_gemm", ARGUMENTS + "uu", **_GEMM_TILES
        )
        columns = ceil_div(N, _GEMM_TILES["TILE_N"])
        wanted = ceil_div(_ITEMS_PER_UNIT * runtime.compute_units, columns)
        tile_t = _GEMM_TILES["TILE_T"]
        rows_per_item = ceil_div(ceil_div(T, tile_t), wanted) * tile_t
        items = (columns, ceil_div(T, rows_per_item))
        values = arguments(x, segment, product)
        runtime.launch(kernel, items, (1, 1), *values, *sizes, rows_per_item, flags)


def packed_shape(T: int, D: int) -> tuple[int, int, int]:
    """Shape [tiles, D padded to 16, rows a tile] of packed f32 activations [T, D]."""
    tile_t = _GEMM_TILES["TILE_T"]
    return (ceil_div(T, tile_t), ceil_div(D, 16) * 16, tile_t)
