"""Products with quantised weight matrices on the host's cores."""

from collections.abc import Sequence

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.block_layout import LANES
from cl_llama.ops.matmul_cpu import GEMV_MATRIX, MATRICES
from cl_llama.ops.matmul_method import Product
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

BLOCK_ROWS = 8
"""Most rows of activations that `BlocksCpu` takes."""
_STREAMS = 8
_ITEMS_PER_UNIT = 8


class BlocksCpu:
    """A few rows of activations: blocks stream past them once. Takes them as they are."""

    def launch_each(
        self, x_TD: DeviceArray, matrices: Sequence[tuple[Product, Segment]], flags: int
    ) -> None:
        """Multiply by up to `MATRICES` matrices of one format in one launch.

        All of them have a bias, or none has.
        """
        T, D = x_TD.shape
        runtime = x_TD.runtime
        kernel = runtime.kernel(
            "matmul_blocks_cpu.cl",
            "matmul_blocks",
            GEMV_MATRIX * MATRICES + "buuuu",
            FORMAT=matrices[0][0].weight.format.upper(),
            STREAMS=_STREAMS,
            TILE_T=next(t for t in (1, 2, 4, BLOCK_ROWS) if t >= T),
        )
        groups = [ceil_div(segment.rows, LANES) for _, segment in matrices]
        # Items as large as leaves every core some.
        wanted = sum(groups) // (_ITEMS_PER_UNIT * runtime.compute_units)
        per_item = min(_STREAMS, max(1, wanted))
        items = sum(ceil_div(count, per_item) for count in groups)
        values: list[object] = []
        for product, segment in matrices:
            out = product.out_TN
            bias = out if product.bias_N is None else product.bias_N
            values += [segment.buffer, segment.offset, LANES * segment.row_stride, bias, out]
            values += [product.weight.rows, segment.first_row, segment.rows]
        product, segment = matrices[0]
        absent = [segment.buffer, 0, 0, product.out_TN, product.out_TN, 0, 0, 0]
        values += absent * (MATRICES - len(matrices))
        runtime.launch(kernel, (items,), (1,), *values, x_TD, T, D, per_item, flags)
