"""Products with weight matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cl_llama.opencl.runtime import DeviceArray, Family
from cl_llama.ops.shapes import ceil_div, expect
from cl_llama.ops.weight import Segment, Weight

_ACCUMULATE, _BIAS = 1, 2  # flags of the kernels
_FEW_ROWS = 4
"""Up to so many rows of activations stream the weights past them; more share tiles of both."""
_ARGUMENTS = "bllbbbluuuu"  # up to the sizes T, N, D
_GROUP = 64
_GEMV_CPU_TILE_N = 4
_GEMM_TILE, _GEMM_ITEMS = 32, 8
_GEMM_CPU_TILES = {"TILE_T": 12, "TILE_D": 256, "TILE_N": 64}
_ITEMS_PER_UNIT = 4
"""Work-items that each core should have at least, so that the cores finish together."""


@dataclass(frozen=True, eq=False)
class Product:
    """One of several matrices that the same activations meet: y = x w^T (+ bias)."""

    weight: Weight
    out_TN: DeviceArray
    bias_N: DeviceArray | None = None


def matmul(
    x_TD: DeviceArray,
    weight: Weight,
    out_TN: DeviceArray,
    bias_N: DeviceArray | None = None,
    *,
    accumulate: bool = False,
    family: Family | None = None,
) -> None:
    """out[t, n] = sum over d of x[t, d] * weight[n, d] (+ bias[n]) (+ out[t, n] if accumulate).

    x, out and bias are f32, the weight [N, D] f16, the accumulator f32.

    Raises:
        ValueError: shapes that do not fit.
    """
    matmul_each(x_TD, [Product(weight, out_TN, bias_N)], accumulate=accumulate, family=family)


def matmul_each(
    x_TD: DeviceArray,
    products: Sequence[Product],
    *,
    accumulate: bool = False,
    family: Family | None = None,
) -> None:
    """`matmul` of the same activations with several matrices; they are prepared once."""
    T, D = x_TD.shape
    family = family or x_TD.runtime.family
    for product in products:
        expect("matmul", "x_TD", x_TD, (T, product.weight.columns))
        expect("matmul", "out_TN", product.out_TN, (T, product.weight.rows))
        if product.bias_N is not None:
            expect("matmul", "bias_N", product.bias_N, (product.weight.rows,))
    if T == 0:
        return
    if T <= _FEW_ROWS:
        launch = _gemv_cpu if family == "cpu" else _gemv
    elif family == "cpu":
        launch = _gemm_cpu
        x_TD = _pack_rows(x_TD)
    else:
        launch = _gemm
    for product in products:
        flags = _ACCUMULATE * accumulate | _BIAS * (product.bias_N is not None)
        for segment in product.weight.segments:
            launch(x_TD, segment, product, (T, segment.rows, D), flags)


def _arguments(x: DeviceArray, segment: Segment, product: Product) -> tuple[Any, ...]:
    """What all kernels begin with; a bias that is not read still has to be some buffer."""
    return (
        segment.buffer,
        segment.offset,
        segment.row_stride,
        x,
        product.out_TN if product.bias_N is None else product.bias_N,
        product.out_TN,
        product.weight.rows,
        segment.first_row,
    )


def _gemv_cpu(
    x: DeviceArray, segment: Segment, product: Product, sizes: tuple[int, int, int], flags: int
) -> None:
    T, N, _ = sizes
    tiles = {"TILE_N": _GEMV_CPU_TILE_N, "TILE_T": 1 if T == 1 else _FEW_ROWS}
    kernel = x.runtime.kernel("matmul_gemv_cpu.cl", "matmul_gemv", _ARGUMENTS + "u", **tiles)
    items = ceil_div(N, _GEMV_CPU_TILE_N)
    x.runtime.launch(kernel, (items,), (1,), *_arguments(x, segment, product), *sizes, flags)


def _gemv(
    x: DeviceArray, segment: Segment, product: Product, sizes: tuple[int, int, int], flags: int
) -> None:
    T, N, _ = sizes
    tiles = {"GROUP": _GROUP, "TILE_T": 1 if T == 1 else _FEW_ROWS}
    kernel = x.runtime.kernel("matmul_gemv.cl", "matmul_gemv", _ARGUMENTS + "u", **tiles)
    arguments = _arguments(x, segment, product)
    x.runtime.launch(kernel, (N * _GROUP,), (_GROUP,), *arguments, *sizes, flags)


def _gemm_cpu(
    x: DeviceArray, segment: Segment, product: Product, sizes: tuple[int, int, int], flags: int
) -> None:
    T, N, _ = sizes
    runtime = x.runtime
    tile_t, tile_n = _GEMM_CPU_TILES["TILE_T"], _GEMM_CPU_TILES["TILE_N"]
    kernel = runtime.kernel(
        "matmul_gemm_cpu.cl", "matmul_gemm", _ARGUMENTS + "uu", **_GEMM_CPU_TILES
    )
    columns = ceil_div(N, tile_n)
    wanted = ceil_div(_ITEMS_PER_UNIT * runtime.compute_units, columns)
    rows_per_item = ceil_div(ceil_div(T, tile_t), wanted) * tile_t
    items = (columns, ceil_div(T, rows_per_item))
    arguments = _arguments(x, segment, product)
    runtime.launch(kernel, items, (1, 1), *arguments, *sizes, rows_per_item, flags)


def _gemm(
    x: DeviceArray, segment: Segment, product: Product, sizes: tuple[int, int, int], flags: int
) -> None:
    T, N, _ = sizes
    kernel = x.runtime.kernel("matmul_gemm.cl", "matmul_gemm", _ARGUMENTS + "u")
    items = tuple(_GEMM_ITEMS * ceil_div(size, _GEMM_TILE) for size in (N, T))
    local = (_GEMM_ITEMS, _GEMM_ITEMS)
    x.runtime.launch(kernel, items, local, *_arguments(x, segment, product), *sizes, flags)


def _pack_rows(x_TD: DeviceArray) -> DeviceArray:
    """Activations in the order in which the CPU family's tiles read them."""
    T, D = x_TD.shape
    runtime = x_TD.runtime
    tile_t = _GEMM_CPU_TILES["TILE_T"]
    steps = ceil_div(D, 16)
    packed = runtime.scratch("packed_rows", packed_shape(T, D), np.float32)
    kernel = runtime.kernel("matmul_gemm_cpu.cl", "pack_rows", "bbuu", **_GEMM_CPU_TILES)
    runtime.launch(kernel, (ceil_div(T, tile_t), steps), (1, 1), x_TD, packed, T, D)
    return packed


def packed_shape(T: int, D: int) -> tuple[int, int, int]:
    """Shape [tiles, D padded to 16, rows a tile] of packed f32 activations [T, D]."""
    tile_t = _GEMM_CPU_TILES["TILE_T"]
    return (ceil_div(T, tile_t), ceil_div(D, 16) * 16, tile_t)
