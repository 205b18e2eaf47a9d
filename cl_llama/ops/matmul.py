"""Products with weight matrices: shapes are checked and the way of computing is chosen."""

from collections.abc import Sequence
from typing import Literal

from cl_llama.opencl.profile import Work
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.ops import matmul_amx
from cl_llama.ops.matmul_cpu import MOST_FEW_ROWS, FewRowsCpu, GemmCpu, GemvCpu
from cl_llama.ops.matmul_method import ACCUMULATE, BIAS, Method, Product
from cl_llama.ops.matmul_mma import GemmMma
from cl_llama.ops.matmul_portable import GEMV_ROWS, Gemm, Gemv
from cl_llama.ops.shapes import expect
from cl_llama.ops.weight import Weight

Precision = Literal["high", "fast"]
"""high: as exact as float32 sums of float16 weights; fast: one pass of a matrix unit."""

_FEW_ROWS = 4
"""Up to so many rows of activations the weights stream past once; more share tiles of both."""


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

    x, out and bias are f32, the weight [N, D] f16, the accumulator f32.

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
    for product in products:
        expect("matmul", "x_TD", x_TD, (T, product.weight.columns))
        expect("matmul", "out_TN", product.out_TN, (T, product.weight.rows))
        if product.bias_N is not None:
            expect("matmul", "bias_N", product.bias_N, (product.weight.rows,))
    if T == 0:
        return
    exact = any(product.exact for product in products)
    method = choose(x_TD.runtime, family or x_TD.runtime.family, precision, T, exact)
    x = method.prepare(x_TD)
    for product in products:
        flags = ACCUMULATE * accumulate | BIAS * (product.bias_N is not None)
        for segment in product.weight.segments:
            if x.runtime.profiles:
                x.runtime.announce(_work(T, segment.rows, D))
            method.launch(x, segment, product, (T, segment.rows, D), flags)


def _work(T: int, N: int, D: int) -> Work:
    """A product's, the activations read and written once each."""
    return Work(f"{T}x{D}x{N}", 2 * N * D + 4 * T * (D + N), 2 * T * N * D)


def choose(
    runtime: Runtime, family: Family, precision: Precision, T: int, exact: bool = False
) -> Method:
    """The way to multiply T rows of activations on a device; `exact`: by a product that asks it."""
    if family == "cpu":
        if runtime.matrix_unit == "amx" and T >= matmul_amx.MIN_ROWS:
            if precision == "fast":
                return matmul_amx.GemmAmx(parts=1, exact_parts=1)
            return matmul_amx.GemmAmx(parts=2, exact_parts=3 if exact else 2)
        if T <= _FEW_ROWS:
            return GemvCpu()
        return FewRowsCpu() if T <= MOST_FEW_ROWS else GemmCpu()
    if T <= GEMV_ROWS:
        return Gemv()
    if runtime.matrix_unit == "mma":
        return GemmMma(parts=1 if precision == "fast" else 2)
    return Gemm()
