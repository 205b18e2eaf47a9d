"""Products with quantised weight matrices on the host's cores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cl_llama.blocks import FORMATS
from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.block_layout import LANES
from cl_llama.ops.matmul_cpu import GEMV_MATRIX, MATRICES, Norm, matrix_arguments
from cl_llama.ops.matmul_method import ARGUMENTS, NORM, Method, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

if TYPE_CHECKING:
    import pyopencl as cl

BLOCK_ROWS = 8
"""Most rows of activations that `BlocksCpu` takes."""
_STREAMS, _ITEMS_PER_UNIT = 8, 8
"""Groups of 16 rows of weights that a work-item of it reads at once, at most; items a core has."""
_GEMM_TOKENS, _GEMM_GROUPS = 516, 4
"""Rows of activations at most, and groups of 16 rows of weights, of an item of `GemmBlocksCpu`."""
_GEMM_TILE, _GEMM_ITEMS_PER_UNIT = 6, 4
"""Rows of activations that it takes at once, be there so many or not; items that a core wants."""
_ARGUMENTS, _PACK_ARGUMENTS = GEMV_MATRIX * MATRICES + "buuuu", "bbfbuuu"
_MOST_WORDS = 32
"""Of a record that `DotsCpu` makes for 32 columns."""
_GROUP = 4
"""Groups of 32 columns that share a unit there."""


@dataclass(frozen=True)
class BlocksCpu:
    """A few rows of activations: blocks stream past them once.

    Attributes:
        levels: activations are rounded to 16 bits or, 2, to 32, 32 columns sharing a unit.
    """

    levels: int
    norms = True
    """Whether the rows' norm comes at no cost."""

    def prepare(self, x_TD: DeviceArray, norm: Norm | None = None) -> DeviceArray:
        """What `launch_each` takes for f32 [T, D], or for the rows' norm: records."""
        return pack_columns(x_TD, self.levels, norm)

    def launch_each(
        self,
        x: DeviceArray,
        shape: tuple[int, ...],
        matrices: Sequence[tuple[Product, Segment]],
        flags: int,
    ) -> None:
        """Multiply activations [T, D] by up to `MATRICES` matrices of one format in one launch.

        All of them have a bias, or none has.
        """
        T, D = shape
        runtime = x.runtime
        kernel = runtime.kernel(
            "matmul_blocks_cpu.cl",
            "matmul_blocks",
            _ARGUMENTS,
            **self._defines(matrices[0][0].weight.format, T),
            STREAMS=_STREAMS,
        )
        groups = [ceil_div(segment.rows, LANES) for _, segment in matrices]
        # Items as large as leaves every core some.
        wanted = sum(groups) // (_ITEMS_PER_UNIT * runtime.compute_units)
        per_item = min(_STREAMS, max(1, wanted))
        items = sum(ceil_div(count, per_item) for count in groups)
        values = matrix_arguments(matrices, LANES)
        runtime.launch(kernel, (items,), (1,), *values, x, T, D, per_item, flags)

    def _defines(self, format: str, T: int) -> dict[str, int | str]:
        tile_t = next(t for t in (1, 2, 4, BLOCK_ROWS) if t >= T)
        return {"FORMAT": format.upper(), "LEVELS": self.levels, "TILE_T": tile_t}


DOTS_FORMATS = frozenset(FORMATS) - {"q2_k"}
"""What `DotsCpu` takes."""


@dataclass(frozen=True)
class DotsCpu(BlocksCpu):
    """The same on AVX-512 VNNI, by products of bytes.

    Attributes:
        format: of the weights.
        levels: activations are rounded to 16 bits or, 2, to 24, 32 columns sharing a unit.
    """

    format: str

    def prepare(self, x_TD: DeviceArray, norm: Norm | None = None) -> DeviceArray:
        """What `launch_each` takes for f32 [T, D], or for the rows' norm: records."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        packed = runtime.scratch("packed_columns", (D // 32, T, _MOST_WORDS), np.uint32)
        kernel = runtime.kernel(
            "pack_bytes_cpu.cl",
            "pack_bytes",
            _PACK_ARGUMENTS,
            FORMAT=self.format.upper(),
            LIMBS=self.levels + 1,
        )
        _launch_pack(kernel, x_TD, packed, norm)
        return packed

    def _defines(self, format: str, T: int) -> dict[str, int | str]:
        return {"FORMAT": format.upper(), "LIMBS": self.levels + 1, "TILE_T": T, "VNNI": 1}


class GemmBlocksCpu(Method):
    """Many rows of activations: they and the weights are rounded to 13 bits, 128 columns a unit.

    AVX-512 VNNI multiplies them where kernels may use it.
    """

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """Records of 32 columns, uint32 [ceil(D / 128), T, 4, 20], and space for a tile's rest."""
        packed = x_TD.runtime.scratch("packed_columns", _packed_shape(*x_TD.shape), np.uint32)
        _pack(x_TD, packed, None, GROUP=_GROUP, LARGEST=4095)
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
        kernel = x.runtime.kernel(
            "matmul_blocks_gemm_cpu.cl",
            "matmul_blocks_gemm",
            ARGUMENTS + "uu",
            FORMAT=product.weight.format.upper(),
            TOKENS=_GEMM_TOKENS,
            GROUPS=_GEMM_GROUPS,
            VNNI=int(x.runtime.vnni),
        )
        columns = ceil_div(N, LANES * _GEMM_GROUPS)
        tokens = _tokens_per_item(x.runtime.compute_units, T, columns)
        values = (*arguments(x, segment, product), *sizes, tokens, flags)
        x.runtime.launch(kernel, (columns, ceil_div(T, tokens)), (1, 1), *values)


def _tokens_per_item(units: int, T: int, columns: int) -> int:
    """As many rows of activations as leave every core some items: each decodes its weights."""
    parts = max(ceil_div(T, _GEMM_TOKENS), _GEMM_ITEMS_PER_UNIT * units // columns)
    return ceil_div(ceil_div(T, parts), _GEMM_TILE) * _GEMM_TILE


def packed_columns_bytes(T: int, D: int) -> int:
    """What `GemmBlocksCpu` takes of scratch space for activations [T, D]."""
    return 4 * math.prod(_packed_shape(T, D))


def _packed_shape(T: int, D: int) -> tuple[int, ...]:
    return (ceil_div(D, 32 * _GROUP) * T + _GEMM_TILE - 1, _GROUP, 20)


def pack_columns(x_TD: DeviceArray, levels: int, norm: Norm | None = None) -> DeviceArray:
    """Activations, or their rows' norm, as records of 32 columns, uint32 [T, D / 32, 20 or 36]."""
    T, D = x_TD.shape
    packed = x_TD.runtime.scratch("packed_columns", (T, D // 32, 4 + 16 * levels), np.uint32)
    _pack(x_TD, packed, norm, LEVELS=levels)
    return packed


def _pack(x_TD: DeviceArray, packed: DeviceArray, norm: Norm | None, **defines: int) -> None:
    runtime = x_TD.runtime
    kernel = runtime.kernel("pack_columns_cpu.cl", "pack_columns", _PACK_ARGUMENTS, **defines)
    _launch_pack(kernel, x_TD, packed, norm)


def _launch_pack(
    kernel: "cl.Kernel", x_TD: DeviceArray, packed: DeviceArray, norm: Norm | None
) -> None:
    T, D = x_TD.shape
    weight_D, eps = (x_TD, 0.0) if norm is None else (norm.weight_D, norm.eps)
    flags = NORM * (norm is not None)
    x_TD.runtime.launch(kernel, (T,), (1,), x_TD, weight_D, eps, packed, T, D, flags)
