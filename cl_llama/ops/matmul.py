"""Products with weight matrices: shapes are checked and the way of computing is chosen."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from cl_llama.blocks import FORMATS
from cl_llama.opencl.intel import matrix_subgroup
from cl_llama.opencl.profile import Work
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.opencl.tuning import Parameter, value
from cl_llama.ops import matmul_amx
from cl_llama.ops.elementwise import rmsnorm
from cl_llama.ops.matmul_blocks_cpu import (
    BLOCK_ROWS,
    DOTS_FORMATS,
    BlocksCpu,
    DotsCpu,
    GemmBlocksCpu,
    packed_columns_bytes,
)
from cl_llama.ops.matmul_cpu import (
    MATRICES,
    GemmCpu,
    GemvCpu,
    Norm,
)
from cl_llama.ops.matmul_decoded import Decoded, decoded_bytes
from cl_llama.ops.matmul_dpas import GemmDpas
from cl_llama.ops.matmul_lanes_cpu import MOST_LANES_ROWS, LanesCpu
from cl_llama.ops.matmul_method import ACCUMULATE, BIAS, Method, Product
from cl_llama.ops.matmul_mma import GemmMma
from cl_llama.ops.matmul_portable import GEMV_ROWS, Gemm, Gemv
from cl_llama.ops.shapes import expect
from cl_llama.ops.weight import Weight, check_order

Precision = Literal["high", "fast"]
"""high: as exact as float32 sums of float16 weights; fast: one pass of a matrix unit."""

_GEMV_ROWS = Parameter(
    "matmul.cpu.gemv_rows",
    "up to so many rows of activations stream past the weights; more share tiles of both",
    default=4,
    values=(1, 2, 3, 4),
    rows=(2, 3, 4),
)
_LANES_ROWS = Parameter(
    "matmul.cpu.lanes_rows",
    "up to so many rows of activations meet the weights unblocked; more are blocked",
    default=MOST_LANES_ROWS,
    values=(32, 48, MOST_LANES_ROWS),
    rows=(40, 64),
)
_AMX_ROWS = Parameter(
    "matmul.amx.rows",
    "from so many rows of activations on AMX multiplies them",
    default=matmul_amx.MIN_ROWS,
    values=(3, 4, matmul_amx.MIN_ROWS, 7, 9, 13),
    rows=(3, 4, 5, 6, 8, 12),
)
_PORTABLE_GEMV_ROWS = Parameter(
    "matmul.portable.gemv_rows",
    "up to so many rows of activations stream past the weights; more share tiles of both",
    default=GEMV_ROWS,
    values=(1, 2, 4, GEMV_ROWS),
    rows=(2, 4, GEMV_ROWS),
)
CROSSOVERS = (_GEMV_ROWS, _LANES_ROWS, _AMX_ROWS, _PORTABLE_GEMV_ROWS)


def matmul(
    x_TD: DeviceArray,
    weight: Weight,
    out_TN: DeviceArray,
    bias_N: DeviceArray | None = None,
    *,
    accumulate: bool = False,
    family: Family | None = None,
    precision: Precision = "high",
) -> None:
    """out[t, n] = sum over d of x[t, d] * weight[n, d] (+ bias[n]) (+ out[t, n] if accumulate).

    x, out and bias are f32, the weight [N, D] f16 or blocks, the accumulator f32.

    Raises:
        ValueError: shapes that do not fit.
    """
    products = [Product(weight, out_TN, bias_N)]
    matmul_each(x_TD, products, accumulate=accumulate, family=family, precision=precision)


def matmul_each(
    x_TD: DeviceArray,
    products: Sequence[Product],
    *,
    accumulate: bool = False,
    family: Family | None = None,
    precision: Precision = "high",
) -> None:
    """`matmul` of the same activations with several matrices; they are prepared once."""
    T, D = x_TD.shape
    family = family or x_TD.runtime.family
    for product in products:
        _check(x_TD, product, family)
    if T == 0:
        return
    for method, alike in _by_method(x_TD, products, family, precision):
        if isinstance(method, GemvCpu | BlocksCpu | LanesCpu):
            _gemv_each(method, x_TD, alike, accumulate=accumulate)
            continue
        x = method.prepare(x_TD)
        for product in alike:
            flags = ACCUMULATE * accumulate | BIAS * (product.bias_N is not None)
            for segment in product.weight.segments:
                if x.runtime.profiles:
                    x.runtime.announce(work(T, D, segment.rows, format=product.weight.format))
                method.launch(x, segment, product, (T, segment.rows, D), flags)


def norm_matmul_each(
    x_TD: DeviceArray,
    norm: Norm,
    products: Sequence[Product],
    *,
    family: Family | None = None,
    precision: Precision = "high",
) -> None:
    """`matmul_each` of the rows' RMS norm, in one kernel where one can."""
    T, _ = x_TD.shape
    family = family or x_TD.runtime.family
    for product in products:
        _check(x_TD, product, family)
    if T == 0:
        return
    methods = _by_method(x_TD, products, family, precision)
    if all(isinstance(method, GemvCpu | BlocksCpu) and method.norms for method, _ in methods):
        for method, alike in methods:
            assert isinstance(method, GemvCpu | BlocksCpu)
            _gemv_each(method, x_TD, alike, norm=norm)
        return
    h_TD = x_TD.runtime.scratch("h", x_TD.shape, np.float32)
    rmsnorm(x_TD, norm.weight_D, norm.eps, h_TD, family=family)
    matmul_each(h_TD, products, family=family, precision=precision)


def _by_method(
    x_TD: DeviceArray, products: Sequence[Product], family: Family, precision: Precision
) -> list[tuple[Method | GemvCpu | BlocksCpu | LanesCpu, list[Product]]]:
    """Products of one format together, and how they are computed."""
    exact = any(product.exact for product in products)
    by_format: dict[str, list[Product]] = {}
    for product in products:
        by_format.setdefault(product.weight.format, []).append(product)
    T, _ = x_TD.shape
    return [
        (choose(x_TD.runtime, family, precision, T, exact, format), alike)
        for format, alike in by_format.items()
    ]


def _check(x_TD: DeviceArray, product: Product, family: Family) -> None:
    T, _ = x_TD.shape
    check_order("matmul", product.weight, family)
    expect("matmul", "x_TD", x_TD, (T, product.weight.columns))
    expect("matmul", "out_TN", product.out_TN, (T, product.weight.rows))
    if product.bias_N is not None:
        expect("matmul", "bias_N", product.bias_N, (product.weight.rows,))


def _gemv_each(
    method: GemvCpu | BlocksCpu | LanesCpu,
    x_TD: DeviceArray,
    products: Sequence[Product],
    *,
    accumulate: bool = False,
    norm: Norm | None = None,
) -> None:
    """Several matrices a launch, all of a format; with a bias and without they go separately."""
    runtime = x_TD.runtime
    format = products[0].weight.format
    x = x_TD
    if isinstance(method, BlocksCpu):
        x = method.prepare(x_TD, norm)
    elif isinstance(method, LanesCpu):
        x = method.prepare(x_TD)
    for biased in (False, True):
        matrices = [
            (product, segment)
            for product in products
            for segment in product.weight.segments
            if (product.bias_N is not None) == biased
        ]
        for start in range(0, len(matrices), MATRICES):
            group = matrices[start : start + MATRICES]
            if runtime.profiles:
                rows = [segment.rows for _, segment in group]
                runtime.announce(work(*x_TD.shape, *rows, format=format))
            flags = ACCUMULATE * accumulate | BIAS * biased
            if isinstance(method, GemvCpu):
                method.launch_each(x, group, flags, norm)
            else:
                method.launch_each(x, x_TD.shape, group, flags)


def work(T: int, D: int, *rows: int, format: str = "f16") -> Work:
    """That of products with matrices of so many rows, activations read and written once."""
    N = sum(rows)
    sizes = f"{T}x{D}x{'+'.join(map(str, rows))}"
    row_bytes = 2 * D if format == "f16" else FORMATS[format].row_bytes(D)
    return Work(sizes, N * row_bytes + 4 * T * (D + N), 2 * T * N * D)


def choose(
    runtime: Runtime,
    family: Family,
    precision: Precision,
    T: int,
    exact: bool = False,
    format: str = "f16",
) -> Method | GemvCpu | BlocksCpu | LanesCpu:
    """The way to multiply T rows of activations on a device by weights of a format.

    exact: by a product that asks it.
    """
    if family == "cpu" and format != "f16":
        integers = precision == "fast"
        if T <= BLOCK_ROWS:
            levels = 1 if integers else 2
            if runtime.vnni and format in DOTS_FORMATS:
                return DotsCpu(levels, format)
            return BlocksCpu(levels)
        return GemmBlocksCpu() if integers else GemmCpu()
    if family == "cpu":
        tuning = runtime.tuning
        if runtime.matrix_unit == "amx" and value(tuning, _AMX_ROWS) <= T:
            if precision == "fast":
                return matmul_amx.GemmAmx(parts=1, exact_parts=1)
            return matmul_amx.GemmAmx(parts=2, exact_parts=3 if exact else 2)
        if value(tuning, _GEMV_ROWS) >= T:
            return GemvCpu()
        return LanesCpu() if value(tuning, _LANES_ROWS) >= T else GemmCpu()
    if value(runtime.tuning, _PORTABLE_GEMV_ROWS) >= T:
        return Gemv()
    if format != "f16" and precision == "high":
        return Gemm()  # the matrix units' halves would round the weights
    parts = 1 if precision == "fast" else 2
    unit: Method | None = None
    if runtime.matrix_unit == "mma":
        unit = GemmMma(parts)
    elif runtime.matrix_unit == "dpas":
        unit = GemmDpas(matrix_subgroup(runtime.device), parts)
    if unit is None:
        return Gemm()
    return unit if format == "f16" else Decoded(unit)


def blocks_scratch_bytes(
    runtime: Runtime,
    family: Family,
    precision: Precision,
    T: int,
    shapes: Iterable[tuple[int, ...]],
) -> int:
    """Bytes that products of T rows with matrices [N, D] in blocks take beside others' scratch."""
    method = choose(runtime, family, precision, T, format="q8_0")
    if isinstance(method, Decoded):
        return max((decoded_bytes(N, D) for N, D in shapes), default=0)
    if isinstance(method, GemmBlocksCpu):
        return max((packed_columns_bytes(T, D) for _, D in shapes), default=0)
    return 0
