"""Products with weight matrices on the host's cores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.opencl.tuning import Parameter, value
from cl_llama.ops.matmul_method import ARGUMENTS, BIAS, NORM, Method, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

Activation: TypeAlias = Literal["silu", "gelu"]
"""What gates; gelu is its approximation with tanh."""
MATRICES = 3
"""Most matrices that `GemvCpu` multiplies by in one launch."""
GEMV_MATRIX = "bllbbluu"
"""Argument types of each of them."""
_GEMV_TILE_T, _GEMV_STREAMS_FEW, _GEMV_ITEMS_PER_UNIT = 4, 4, 16
GEMV_STREAMS = Parameter(
    "matmul.cpu.gemv_streams",
    "rows of weights that a work-item reads at once for one row of activations",
    default=8,
    values=(2, 4, 8, 12, 16),
    rows=(1,),
)
GEMV_STREAM_ROWS = Parameter(
    "matmul.cpu.gemv_stream_rows",
    "rows of weights that a work-item reads one after the other, at most",
    default=8,
    values=(1, 2, 4, 8, 16),
    rows=(1, 4),
)
PANEL = 64
"""Rows of activations that are packed together."""
GEMM_TILE_D = Parameter(
    "matmul.cpu.gemm_columns",
    "columns of a block of the weights that is widened once for many rows",
    default=128,
    values=(64, 128, 256),
    rows=(64, 256),
)
GEMM_TILE_N = Parameter(
    "matmul.cpu.gemm_weight_rows",
    "rows of weights of such a block, at most",
    default=384,
    values=(96, 192, 288, 384),
    rows=(64, 256),
)
PARAMETERS = (
    GEMV_STREAMS,
    GEMV_STREAM_ROWS,
    GEMM_TILE_D,
    GEMM_TILE_N,
)
_ROWS_STEP = 16
"""Blocks of weights are whole vectors."""
_BLOCK_ROWS_COST = 10
"""What a block costs beyond its rows, in rows: bringing the activations to the core."""
_ITEMS_PER_UNIT = 4
"""Work-items of a core at most, each with sums of its own; several, so that cores end together."""


@dataclass(frozen=True, eq=False)
class Norm:
    """The RMS norm that activations pass before they are multiplied."""

    weight_D: DeviceArray
    eps: float


class GemvCpu:
    """A few rows of activations: the weights stream past them once. Takes them as they are."""

    norms = True
    """Whether the rows' norm comes at no cost."""

    def launch_each(
        self,
        x_TD: DeviceArray,
        matrices: Sequence[tuple[Product, Segment]],
        flags: int,
        norm: Norm | None = None,
        *,
        gated_by: Activation | None = None,
    ) -> None:
        """Multiply by up to `MATRICES` matrices in one launch, of the rows' norm where it is given.

        All of them have a bias, or none has. gated_by: of two matrices, activation(first) * second
        goes into the first one's output.
        """
        T, D = x_TD.shape
        runtime, gated = x_TD.runtime, gated_by is not None
        tile_t = 1 if T == 1 else _GEMV_TILE_T
        streams = value(runtime.tuning, GEMV_STREAMS) if T == 1 else _GEMV_STREAMS_FEW
        kernel = runtime.kernel(
            "matmul_gemv_cpu.cl",
            "matmul_gemv",
            GEMV_MATRIX * MATRICES + "bbfuuuu",
            TILE_T=tile_t,
            STREAMS=streams,
            GATED=int(gated),
            **_activation_define(gated_by),
        )
        pieces = streams // 2 if gated else streams
        counted = [segment.rows for _, segment in matrices[: 1 if gated else None]]
        # Streams as long as leaves every core some items.
        wanted = _GEMV_ITEMS_PER_UNIT * runtime.compute_units
        longest = value(runtime.tuning, GEMV_STREAM_ROWS)
        length = min(longest, max(1, sum(counted) // (wanted * pieces)))
        items = sum(ceil_div(rows, pieces * length) for rows in counted)
        values = matrix_arguments(matrices)
        weight_D, eps = (x_TD, 0.0) if norm is None else (norm.weight_D, norm.eps)
        flags |= NORM * (norm is not None)
        runtime.launch(kernel, (items,), (1,), *values, x_TD, weight_D, eps, T, D, length, flags)


def matrix_arguments(matrices: Sequence[tuple[Product, Segment]], lanes: int = 1) -> list[object]:
    """Arguments for `MATRICES` matrices, of which those that are not there have no rows.

    lanes: rows that lie side by side, between which a kernel's stride does not lead.
    """
    values: list[object] = []
    for product, segment in matrices:
        out = product.out_TN
        bias = out if product.bias_N is None else product.bias_N
        values += [segment.buffer, segment.offset, lanes * segment.row_stride, bias, out]
        values += [product.weight.rows, segment.first_row, segment.rows]
    product, segment = matrices[0]
    absent = [segment.buffer, 0, 0, product.out_TN, product.out_TN, 0, 0, 0]
    return values + absent * (MATRICES - len(matrices))


class GemmCpu(Method):
    """Many rows of activations: weights are widened a block at a time and meet all of them."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """f32 [panels of 64 rows, D padded to 16, 64]."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        shape = packed_shape(T, D)
        packed = runtime.scratch("packed_rows", shape, np.float32)
        kernel = runtime.kernel("matmul_gemm_cpu.cl", "pack_rows", "bbuu", **_gemm_defines(runtime))
        runtime.launch(kernel, (shape[0], shape[1] // 16), (1, 1), x_TD, packed, T, D)
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
        defines = _gemm_defines(runtime)
        division = _divide(runtime.compute_units, T, N, defines["TILE_N"])
        kernel = runtime.kernel(
            "matmul_gemm_cpu.cl",
            "matmul_gemm",
            ARGUMENTS + "buuu",
            **defines,
            **_format_define(product.weight.format),
        )
        runtime.launch(
            kernel,
            division.items,
            (1, 1),
            *arguments(x, segment, product),
            *sizes,
            _sums(runtime, division, defines["TILE_N"]),
            division.rows_per_block,
            division.tokens_per_item,
            flags,
        )


def gated_gemm(
    packed: DeviceArray,
    sizes: tuple[int, int, int],
    gate: Segment,
    up: Segment,
    biases: tuple[DeviceArray, DeviceArray] | None,
    format: str,
    activation: Activation,
) -> DeviceArray:
    """activation(x gate^T) * (x up^T) of many rows that `GemmCpu` packed, and packed likewise.

    sizes: T, rows of gate, D. format: of both matrices.
    """
    T, N, D = sizes
    runtime = packed.runtime
    hidden = runtime.scratch("packed_hidden", packed_shape(T, N), np.float32)
    defines = _gemm_defines(runtime)
    division = _divide(runtime.compute_units, T, N, defines["TILE_N"] // 2)
    bias_gate, bias_up = biases or (hidden, hidden)
    types = "bll" + "bll" + "bbbb" + "uuu" + "buuu"
    kernel = runtime.kernel(
        "matmul_gemm_cpu.cl",
        "matmul_gated",
        types,
        **defines,
        **_format_define(format),
        **_activation_define(activation),
    )
    runtime.launch(
        kernel,
        division.items,
        (1, 1),
        *(gate.buffer, gate.offset, gate.row_stride),
        *(up.buffer, up.offset, up.row_stride),
        packed,
        bias_gate,
        bias_up,
        hidden,
        T,
        N,
        D,
        _sums(runtime, division, defines["TILE_N"]),
        division.rows_per_block,
        division.tokens_per_item,
        BIAS * (biases is not None),
    )
    return hidden


@dataclass(frozen=True)
class _Division:
    """How a product is divided among work-items."""

    items: tuple[int, int]
    rows_per_block: int
    tokens_per_item: int


def _divide(units: int, T: int, N: int, most_rows: int) -> _Division:
    """Blocks of rows that keep all cores busy to the end; tokens where rows are too few."""

    def seconds(rows: int) -> float:
        return ceil_div(ceil_div(N, rows), units) * (rows + _BLOCK_ROWS_COST)

    rows = min(range(_ROWS_STEP, most_rows + 1, _ROWS_STEP), key=seconds)
    blocks = ceil_div(N, rows)
    columns = min(blocks, _ITEMS_PER_UNIT * units)
    parts = min(ceil_div(T, PANEL), ceil_div(units, blocks))
    tokens = ceil_div(ceil_div(T, parts), PANEL) * PANEL
    return _Division((columns, ceil_div(T, tokens)), rows, tokens)


def _gemm_defines(runtime: Runtime) -> dict[str, int]:
    return {
        "TILE_D": value(runtime.tuning, GEMM_TILE_D),
        "TILE_N": value(runtime.tuning, GEMM_TILE_N),
    }


def _format_define(format: str) -> dict[str, str]:
    return {} if format == "f16" else {"FORMAT": format.upper()}


def _activation_define(activation: Activation | None) -> dict[str, int]:
    return {"GELU": 1} if activation == "gelu" else {}


def _sums(runtime: Runtime, division: _Division, tile_n: int) -> DeviceArray:
    columns, parts = division.items
    shape = (columns * parts, division.tokens_per_item // PANEL, tile_n, PANEL)
    return runtime.scratch("gemm_sums", shape, np.float32)


def packed_shape(T: int, D: int) -> tuple[int, int, int]:
    """Shape [panels, D padded to 16, rows a panel] of packed f32 activations [T, D]."""
    return (ceil_div(T, PANEL), ceil_div(D, 16) * 16, PANEL)


def matmul_scratch_bytes(units: int, T: int, D: int, F: int) -> int:
    """Bytes that products of T rows take at most: packed rows of D columns and of F, and sums.

    units: cores of a CPU device; 0 for another one, which keeps its sums to itself.
    """
    items = _ITEMS_PER_UNIT * units * ceil_div(T, PANEL)
    packed = sum(math.prod(packed_shape(T, width)) for width in (D, F))
    return 4 * (packed + items * max(GEMM_TILE_N.values) * PANEL)
