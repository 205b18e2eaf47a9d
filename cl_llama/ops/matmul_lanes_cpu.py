"""Products of up to some dozens of rows with weight matrices on the host's cores."""

import numpy as np

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.matmul_method import ARGUMENTS, Method, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

MOST_LANES_ROWS = 64
"""Up to so many rows of activations `LanesCpu` takes."""
_FILE = "matmul_lanes_cpu.cl"
_SUMS = 24
"""Vectors of sums that a work-item keeps in registers, as the kernel file has it."""
_COLUMNS = {12: 4, 24: 2, MOST_LANES_ROWS: 1}
"""Columns of a row that lie in a vector, by the most rows: two vectors at least are wanted."""


class LanesCpu(Method):
    """Rows of activations that fit into a few vectors: a work-item's sums never leave registers."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """f32 [D padded to 16 / columns, rows padded, columns]."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        steps, (columns, vectors) = ceil_div(D, 16), _division(T)
        shape = (16 * steps // columns, 16 // columns * vectors, columns)
        packed = runtime.scratch("packed_rows", shape, np.float32)
        kernel = runtime.kernel(_FILE, "pack_lanes", "bbuu", COLUMNS=columns, VECTORS=vectors)
        runtime.launch(kernel, (steps,), (1,), x_TD, packed, T, D)
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
        columns, vectors = _division(T)
        types = ARGUMENTS + "u"
        kernel = x.runtime.kernel(_FILE, "matmul_lanes", types, COLUMNS=columns, VECTORS=vectors)
        items = ceil_div(N, _SUMS // vectors)
        values = arguments(x, segment, product)
        x.runtime.launch(kernel, (items,), (1,), *values, *sizes, flags)


def _division(T: int) -> tuple[int, int]:
    """Columns of a row of activations that lie in a vector, and vectors of all T rows."""
    columns = next(columns for most, columns in _COLUMNS.items() if most >= T)
    return columns, max(2, ceil_div(T, 16 // columns))
