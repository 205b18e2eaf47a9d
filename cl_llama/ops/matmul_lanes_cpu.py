"""Products of up to some dozens of rows with weight matrices on the host's cores."""

from collections.abc import Sequence

import numpy as np

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.matmul_cpu import GEMV_MATRIX, MATRICES, matrix_arguments
from cl_llama.ops.matmul_method import Product
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

MOST_LANES_ROWS = 64
"""Up to so many rows of activations `LanesCpu` takes."""
_FILE = "matmul_lanes_cpu.cl"
_SUMS = 24
"""Vectors of sums that a work-item keeps in registers, as the kernel file has it."""
_COLUMNS = {12: 4, 24: 2, MOST_LANES_ROWS: 1}
"""Columns of a row that lie in a vector, by the most rows: two vectors at least are wanted."""


class LanesCpu:
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

    def launch_each(
        self,
        x: DeviceArray,
        shape: tuple[int, ...],
        matrices: Sequence[tuple[Product, Segment]],
        flags: int,
    ) -> None:
        """Multiply prepared activations [T, D] by up to `MATRICES` matrices in one launch.

        All of them have a bias, or none has.
        """
        T, D = shape
        columns, vectors = _division(T)
        types = GEMV_MATRIX * MATRICES + "buuu"
        kernel = x.runtime.kernel(_FILE, "matmul_lanes", types, COLUMNS=columns, VECTORS=vectors)
        items = sum(ceil_div(segment.rows, _SUMS // vectors) for _, segment in matrices)
        x.runtime.launch(kernel, (items,), (1,), *matrix_arguments(matrices), x, T, D, flags)


def _division(T: int) -> tuple[int, int]:
    """Columns of a row of activations that lie in a vector, and vectors of all T rows."""
    columns = next(columns for most, columns in _COLUMNS.items() if most >= T)
    return columns, max(2, ceil_div(T, 16 // columns))
