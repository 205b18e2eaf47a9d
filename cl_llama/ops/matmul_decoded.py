"""Products with weights in blocks on matrix units, which take halves."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cl_llama.opencl.runtime import GROUP, DeviceArray, Runtime
from cl_llama.ops.matmul_method import Method, Product
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment, block_defines

DECODED_BYTES = 64 << 20
"""Scratch space for halves; a larger matrix takes its turn in pieces."""


def decoded_bytes(N: int, D: int) -> int:
    """What a matrix [N, D] takes of it."""
    return 2 * D * min(N, _rows_at_once(D))


def _rows_at_once(D: int) -> int:
    return max(1, DECODED_BYTES // (2 * D))


@dataclass(frozen=True)
class Decoded(Method):
    """Many rows of activations: blocks become halves, rounded, that meet all of them.

    That costs a matrix unit's product a part of its time which falls with the number of rows.

    Attributes:
        method: multiplies by the halves.
    """

    method: Method

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """As the method wants them."""
        return self.method.prepare(x_TD)

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernels, piece by piece."""
        T, _, D = sizes
        halves = replace(product, weight=replace(product.weight, format="f16"))
        for piece in _decode(x.runtime, segment, product, D):
            self.method.launch(x, piece, halves, (T, piece.rows, D), flags)


def _decode(runtime: Runtime, segment: Segment, product: Product, D: int) -> Iterator[Segment]:
    """The rows as halves in scratch space, each piece until the next is asked for."""
    defines = block_defines(product.weight, segment)
    kernel = runtime.kernel("decode_blocks.cl", "decode_blocks", "bllbu", **defines)
    most = _rows_at_once(D)
    for row in range(0, segment.rows, most):
        rows = min(most, segment.rows - row)
        decoded = runtime.scratch("decoded", (rows, D), np.float16)
        offset = segment.offset + row * segment.row_stride
        items = (ceil_div(D // 16, GROUP) * GROUP, rows)
        runtime.launch(
            *(kernel, items, (GROUP, 1)),
            *(segment.buffer, offset, segment.row_stride, decoded, D),
        )
        yield Segment(decoded.buffer, 0, D, segment.first_row + row, rows)
