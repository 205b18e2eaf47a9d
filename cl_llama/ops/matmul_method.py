"""What the ways of multiplying by a weight matrix have in common."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.weight import Segment, Weight

ACCUMULATE, BIAS, NORM = 1, 2, 4
"""Flags of the kernels: add to what the output holds; add a bias; normalise the activations."""

ARGUMENTS = "bllbbbluuuu"
"""Argument types that the kernels begin with: `arguments`, then the sizes T, N, D."""


@dataclass(frozen=True, eq=False)
class Product:
    """One of several matrices that the same activations meet: y = x w^T (+ bias).

    `exact` asks for float32's exactness under `precision="high"` where less is usual: keys and
    values are rounded to f16 next, and each that rounds to another neighbour is a large error.
    """

    weight: Weight
    out_TN: DeviceArray
    bias_N: DeviceArray | None = None
    exact: bool = False


class Method(Protocol):
    """A way of computing y[t, n] = sum over d of x[t, d] * w[n, d]."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """Activations f32 [T, D] in the order in which `launch` reads them: by default, as is."""
        return x_TD

    @abstractmethod
    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Multiply prepared activations by a segment of a product's rows.

        sizes: T, rows of the segment, D. flags: ACCUMULATE, BIAS.
        """


def arguments(x: DeviceArray, segment: Segment, product: Product) -> tuple[Any, ...]:
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


def aligned(segment: Segment, D: int) -> int:
    """1 if every eighth weight and activation of a row starts at a vector's boundary, else 0."""
    return int(segment.offset % 8 == 0 and segment.row_stride % 8 == 0 and D % 8 == 0)
