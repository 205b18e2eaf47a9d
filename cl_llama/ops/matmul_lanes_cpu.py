"""Products of some dozens of rows with weight matrices on the host's cores."""

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


class LanesCpu(Method):
    """Rows of activations that fit into a few vectors: a work-item's sums never leave registers."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """f32 [D padded to 16, rows padded to 16]."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        steps, vectors = ceil_div(D, 16), ceil_div(T, 16)
        packed = runtime.scratch("packed_rows", (16 * steps, 16 * vectors), np.float32)
        kernel = runtime.kernel(_FILE, "pack_lanes", "bbuu", VECTORS=vectors)
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
        vectors = ceil_div(T, 16)
        kernel = x.runtime.kernel(_FILE, "matmul_lanes", ARGUMENTS + "u", VECTORS=vectors)
        items = ceil_div(N, _SUMS // vectors)
        values = arguments(x, segment, product)
        x.runtime.launch(kernel, (items,), (1,), *values, *sizes, flags)
