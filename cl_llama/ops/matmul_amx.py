"""Products with weight matrices on Intel AMX."""

import numpy as np

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.matmul_method import ARGUMENTS, Method, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

MIN_ROWS = 5
"""Fewer rows of activations stream past the vector units as fast as memory delivers weights."""
_BLOCK = 32
"""Rows of weights, and of activations, that share a step of the kernel."""
_TOKENS, _BLOCKS = 512, 4
"""Most rows of activations, and most blocks of weights, of a work-item."""
_FEW_GROUPS = 4
"""So many groups of activations hide the conversion of the weights that they share."""
_PACKED_D = 256
"""Columns that a work-item of the packing kernel converts."""
_ITEMS_PER_UNIT = 4
"""Work-items that each core should have at least, so that the cores finish together."""


class GemmAmx(Method):
    """Rows of activations in groups of 32: tiles of bfloat16, made of float32 and float16.

    Args:
        parts: bfloat16 numbers that stand for an activation. 1: rounded to 8 bits, and so are
            the weights; 2: 2^-17 of the terms are lost; 3: as exact as float32.
        exact_parts: the same for products that ask to be exact; at least `parts`.
    """

    def __init__(self, parts: int, exact_parts: int) -> None:
        self._parts, self._packed = parts, exact_parts

    def _defines(self, parts: int) -> dict[str, int]:
        return {"PARTS": parts, "PACKED": self._packed, "TOKENS": _TOKENS, "BLOCKS": _BLOCKS}

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """uint32 [groups of 32 rows, steps of 32 columns, parts, 2, 16, 16]: pairs of bfloat16."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        shape = (ceil_div(T, _BLOCK), ceil_div(D, _BLOCK), self._packed, 2, 16, 16)
        packed = runtime.scratch("packed_tiles", shape, np.uint32)
        kernel = runtime.kernel("matmul_amx.cl", "pack_amx", "bbuu", **self._defines(self._parts))
        runtime.launch(kernel, (shape[0], ceil_div(D, _PACKED_D)), (1, 1), x_TD, packed, T, D)
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
        defines = self._defines(self._packed if product.exact else self._parts)
        kernel = runtime.kernel("matmul_amx.cl", "matmul_amx", ARGUMENTS + "uuu", **defines)
        blocks, groups = ceil_div(N, _BLOCK), ceil_div(T, _BLOCK)
        blocks_per_item, groups_per_item = divide(
            blocks, groups, _ITEMS_PER_UNIT * runtime.compute_units
        )
        items = (ceil_div(blocks, blocks_per_item), ceil_div(groups, groups_per_item))
        division = (blocks_per_item, groups_per_item * _BLOCK)
        values = arguments(x, segment, product)
        runtime.launch(kernel, items, (1, 1), *values, *sizes, *division, flags)


def divide(blocks: int, groups: int, items: int) -> tuple[int, int]:
    """Blocks of weights and groups of activations of a work-item, for at least `items` items.

    An item reads and converts its weights once for all its groups, and reads its activations once
    for all its blocks, so both are as many as the number of items permits: first the groups are
    divided, as long as they hide the conversion.
    """
    n, t = min(blocks, _BLOCKS), min(groups, _TOKENS // _BLOCK)
    while ceil_div(blocks, n) * ceil_div(groups, t) < items and (t > _FEW_GROUPS or n > 1):
        if t > _FEW_GROUPS:
            t = ceil_div(t, 2)
        else:
            n = ceil_div(n, 2)
    return n, ceil_div(groups, ceil_div(groups, t))
