"""Operations on the rows of activations: embedding lookup, norms, activation functions."""

import math

from cl_llama.opencl.runtime import GROUP, WIDE_GROUP, DeviceArray, Family
from cl_llama.ops.shapes import ceil_div, expect
from cl_llama.ops.weight import Weight, block_defines, check_order

_CHUNK = 1024


def embedding(
    ids_T: DeviceArray,
    weight: Weight,
    out_TD: DeviceArray,
    *,
    scale: float = 1.0,
    family: Family | None = None,
) -> None:
    """out[t] = row ids[t] of weight [V, D], f16 or blocks, * scale; ids are int32, out f32.

    An id outside [0, V) leaves its row of out as it is; callers check ids.

    Raises:
        ValueError: shapes that do not fit.
    """
    runtime = ids_T.runtime
    (T,), D = ids_T.shape, weight.columns
    expect("embedding", "out_TD", out_TD, (T, D))
    family = family or runtime.family
    check_order("embedding", weight, family)
    cpu, blocks = family == "cpu", weight.format != "f16"
    filename = "embedding.cl"
    if cpu:
        filename = "embedding_blocks_cpu.cl" if blocks else "embedding_cpu.cl"
    per_item = 16 if blocks else 1
    for segment in weight.segments:
        defines = block_defines(weight, segment)
        kernel = runtime.kernel(filename, "embedding", "blluubbuf", **defines)
        runtime.launch(
            kernel,
            (T,) if cpu else (ceil_div(D, per_item * GROUP) * GROUP, T),
            (1,) if cpu else (GROUP, 1),
            segment.buffer,
            segment.offset,
            segment.row_stride,
            segment.first_row,
            segment.rows,
            ids_T,
            out_TD,
            D,
            scale,
        )


def rmsnorm(
    x_TD: DeviceArray,
    weight_D: DeviceArray,
    eps: float,
    out_RD: DeviceArray,
    rows_R: DeviceArray | None = None,
    *,
    family: Family | None = None,
) -> None:
    """out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight, all f32 (Zhang and Sennrich, 2019).

    With `rows_R` (int32 [R]) row r of out is that of x[rows[r]]; without, out may be x itself.
    Per-head norms pass queries or keys as rows of one head each.

    Raises:
        ValueError: shapes that do not fit.
    """
    runtime = x_TD.runtime
    T, D = x_TD.shape
    R = T if rows_R is None else rows_R.shape[0]
    expect("rmsnorm", "weight_D", weight_D, (D,))
    expect("rmsnorm", "out_RD", out_RD, (R, D))
    group = 1
    if (family or runtime.family) == "cpu":
        kernel = runtime.kernel("rmsnorm_cpu.cl", "rmsnorm", "bbbbufu")
    else:
        group = WIDE_GROUP if runtime.wide_groups else GROUP
        defines = {"GROUP": group, "ALIGNED": int(D % 4 == 0)}
        kernel = runtime.kernel("rmsnorm.cl", "rmsnorm", "bbbbufu", **defines)
    runtime.launch(
        kernel,
        (R * group,),
        (group,),
        x_TD,
        weight_D,
        weight_D if rows_R is None else rows_R,
        out_RD,
        D,
        eps,
        int(rows_R is not None),
    )


def layernorm(
    x_TD: DeviceArray,
    weight_D: DeviceArray,
    bias_D: DeviceArray,
    eps: float,
    out_RD: DeviceArray,
    rows_R: DeviceArray | None = None,
    *,
    family: Family | None = None,
) -> None:
    """out[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias, all f32 (Ba et al., 2016).

    With `rows_R` (int32 [R]) row r of out is that of x[rows[r]]; without, out may be x itself.

    Raises:
        ValueError: shapes that do not fit.
    """
    runtime = x_TD.runtime
    T, D = x_TD.shape
    R = T if rows_R is None else rows_R.shape[0]
    expect("layernorm", "weight_D", weight_D, (D,))
    expect("layernorm", "bias_D", bias_D, (D,))
    expect("layernorm", "out_RD", out_RD, (R, D))
    group = 1
    if (family or runtime.family) == "cpu":
        kernel = runtime.kernel("layernorm_cpu.cl", "layernorm", "bbbbbufu")
    else:
        group = WIDE_GROUP if runtime.wide_groups else GROUP
        kernel = runtime.kernel("layernorm.cl", "layernorm", "bbbbbufu", GROUP=group)
    runtime.launch(
        kernel,
        (R * group,),
        (group,),
        x_TD,
        weight_D,
        bias_D,
        weight_D if rows_R is None else rows_R,
        out_RD,
        D,
        eps,
        int(rows_R is not None),
    )


def gelu(x_TF: DeviceArray, *, family: Family | None = None) -> None:
    """x = gelu(x) in place, f32, by its approximation with tanh (Hendrycks and Gimpel, 2016)."""
    _launch_each("gelu", x_TF, family=family)


def add(x_TD: DeviceArray, y_TD: DeviceArray, *, family: Family | None = None) -> None:
    """x += y, f32.

    Raises:
        ValueError: shapes that do not fit.
    """
    expect("add", "y_TD", y_TD, x_TD.shape)
    _launch_each("add", x_TD, y_TD, family=family)


def swiglu(gate_TF: DeviceArray, up_TF: DeviceArray, *, family: Family | None = None) -> None:
    """gate = silu(gate) * up in place, f32 (Shazeer, 2020).

    Raises:
        ValueError: shapes that do not fit.
    """
    expect("swiglu", "up_TF", up_TF, gate_TF.shape)
    _launch_each("swiglu", gate_TF, up_TF, family=family)


def geglu(gate_TF: DeviceArray, up_TF: DeviceArray, *, family: Family | None = None) -> None:
    """gate = gelu(gate) * up in place, f32, gelu as above (Shazeer, 2020).

    Raises:
        ValueError: shapes that do not fit.
    """
    expect("geglu", "up_TF", up_TF, gate_TF.shape)
    _launch_each("swiglu", gate_TF, up_TF, family=family, GELU=1)


def softcap(x_RV: DeviceArray, cap: float, *, family: Family | None = None) -> None:
    """x = cap * tanh(x / cap) in place, f32 (Bello et al., 2017)."""
    _launch_each("softcap", x_RV, family=family, numbers=(cap,))


def _launch_each(
    name: str,
    *arrays: DeviceArray,
    family: Family | None,
    numbers: tuple[float, ...] = (),
    **defines: int,
) -> None:
    """Run a kernel that treats every element of its arrays alike."""
    runtime, count = arrays[0].runtime, math.prod(arrays[0].shape)
    types = "b" * len(arrays) + "f" * len(numbers) + "u"
    values = (*arrays, *numbers, count)
    if (family or runtime.family) == "cpu":
        kernel = runtime.kernel(f"{name}_cpu.cl", name, types, CHUNK=_CHUNK, **defines)
        runtime.launch(kernel, (ceil_div(count, _CHUNK),), (1,), *values)
    else:
        kernel = runtime.kernel(f"{name}.cl", name, types, **defines)
        runtime.launch(kernel, (ceil_div(count, GROUP) * GROUP,), (GROUP,), *values)
