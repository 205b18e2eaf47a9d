"""The gated network of a layer (SwiGLU and GEGLU: Shazeer, 2020)."""

from dataclasses import dataclass

import numpy as np

from cl_llama.opencl.runtime import DeviceArray, Family
from cl_llama.ops.elementwise import add, geglu, rmsnorm, swiglu
from cl_llama.ops.matmul import Precision, choose, matmul, matmul_each, norm_matmul_each, work
from cl_llama.ops.matmul_cpu import Activation, GemmCpu, GemvCpu, Norm, gated_gemm
from cl_llama.ops.matmul_method import ACCUMULATE, BIAS, Product
from cl_llama.ops.shapes import expect
from cl_llama.ops.weight import Weight


@dataclass(frozen=True, eq=False)
class GatedNetwork:
    """Matrices f16 or blocks: gate and up [F, D], down [D, F]; biases f32.

    Gate and up both have a bias, or neither has.

    Attributes:
        gate: through the activation.
        up: times that.
        down: back to the model's width.
        gate_bias: [F] or None.
        up_bias: [F] or None.
        down_bias: [D] or None.
    """

    gate: Weight
    up: Weight
    down: Weight
    gate_bias: DeviceArray | None = None
    up_bias: DeviceArray | None = None
    down_bias: DeviceArray | None = None


def feed_forward(
    x_TD: DeviceArray,
    norm: Norm | None,
    network: GatedNetwork,
    *,
    activation: Activation = "silu",
    norm_after: Norm | None = None,
    family: Family | None = None,
    precision: Precision = "high",
) -> None:
    """x += down(activation(gate(h)) * up(h)), h the rows' RMS norm; in as few kernels as there are.

    The activation is silu, or gelu by its approximation with tanh. Without `norm` h is x itself;
    with `norm_after` that of what down gives is added.

    Raises:
        ValueError: shapes that do not fit.
    """
    runtime = x_TD.runtime
    T, D = x_TD.shape
    F = network.gate.rows
    expect("feed_forward", "x_TD", x_TD, (T, network.gate.columns))
    family = family or runtime.family
    if T == 0:
        return
    out_TD, accumulate = x_TD, norm_after is None
    if norm_after is not None:
        out_TD = runtime.scratch("added", (T, D), np.float32)
    gate_TF = runtime.scratch("gate", (T, F), np.float32)
    gate = Product(network.gate, gate_TF, network.gate_bias)
    format = network.gate.format
    method = choose(runtime, family, precision, T, format=format)
    pairs = list(zip(network.gate.segments, network.up.segments, strict=False))
    paired = network.up.format == format and (
        [s.first_row for s in network.gate.segments] == [s.first_row for s in network.up.segments]
    )
    biases = None
    if network.gate_bias is not None and network.up_bias is not None:
        biases = (network.gate_bias, network.up_bias)
    elif network.gate_bias is not network.up_bias:
        raise ValueError("feed_forward: gate and up both have a bias, or neither has")
    if paired and isinstance(method, GemvCpu):
        up = Product(network.up, gate_TF, network.up_bias)
        for of_gate, of_up in pairs:
            if runtime.profiles:
                runtime.announce(work(T, D, of_gate.rows, of_up.rows))
            pair = [(gate, of_gate), (up, of_up)]
            flags = BIAS * (biases is not None)
            method.launch_each(x_TD, pair, flags, norm, gated_by=activation)
    else:
        if paired and len(pairs) == 1 and isinstance(method, GemmCpu):
            h_TD = x_TD
            if norm is not None:
                h_TD = runtime.scratch("h", (T, D), np.float32)
                rmsnorm(x_TD, norm.weight_D, norm.eps, h_TD, family=family)
            packed = method.prepare(h_TD)
            if runtime.profiles:
                runtime.announce(work(T, D, F, F, format=format))
            hidden = gated_gemm(packed, (T, F, D), *pairs[0], biases, format, activation)
            down = Product(network.down, out_TD, network.down_bias)
            flags = ACCUMULATE * accumulate | BIAS * (network.down_bias is not None)
            for segment in network.down.segments:
                if runtime.profiles:
                    runtime.announce(work(T, F, segment.rows, format=network.down.format))
                method.launch(hidden, segment, down, (T, segment.rows, F), flags)
            if norm_after is not None:
                add_norm(x_TD, out_TD, norm_after, family=family)
            return
        up_TF = runtime.scratch("up", (T, F), np.float32)
        products = [gate, Product(network.up, up_TF, network.up_bias)]
        if norm is None:
            matmul_each(x_TD, products, family=family, precision=precision)
        else:
            norm_matmul_each(x_TD, norm, products, family=family, precision=precision)
        gated = geglu if activation == "gelu" else swiglu
        gated(gate_TF, up_TF, family=family)
    matmul(
        gate_TF,
        network.down,
        out_TD,
        network.down_bias,
        accumulate=accumulate,
        family=family,
        precision=precision,
    )
    if norm_after is not None:
        add_norm(x_TD, out_TD, norm_after, family=family)


def add_norm(
    x_TD: DeviceArray, y_TD: DeviceArray, norm: Norm, *, family: Family | None = None
) -> None:
    """x += the rows' RMS norm of y, which takes y's place.

    Raises:
        ValueError: shapes that do not fit.
    """
    rmsnorm(y_TD, norm.weight_D, norm.eps, y_TD, family=family)
    add(x_TD, y_TD, family=family)
