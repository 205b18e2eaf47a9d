"""What is asked of logits: the largest, the k largest, probabilities."""

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import DeviceArray, Family
from cl_llama.ops.shapes import expect

MAX_TOP_K = 64
_GROUP = 64


def argmax(
    logits_RV: DeviceArray, *, family: Family | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The index of each row's largest value, the lowest of equals, and the value; [R] each.

    NaN counts as largest, so that a caller sees it.
    """
    ids, values = _select(logits_RV, None, family)
    return ids[:, 0], values[:, 0]


def top_k(
    logits_RV: DeviceArray, k: int, *, family: Family | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The indices and values of each row's k largest, descending; [R, k] each.

    Of equal values the lower index comes first; NaN counts as largest.

    Raises:
        ValueError: k is not in 1..min(V, 64).
    """
    if not 1 <= k <= min(logits_RV.shape[1], MAX_TOP_K):
        raise ValueError(f"top_k: k is {k}, expected 1 to {min(logits_RV.shape[1], MAX_TOP_K)}")
    return _select(logits_RV, k, family)


def _select(
    logits_RV: DeviceArray, k: int | None, family: Family | None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    runtime = logits_RV.runtime
    R, V = logits_RV.shape
    name = "argmax" if k is None else "top_k"
    ids = runtime.scratch("selected_ids", (R, k or 1), np.int32)
    values = runtime.scratch("selected_values", (R, k or 1), np.float32)
    sizes = (V,) if k is None else (V, k)
    signature = "bbb" + "u" * len(sizes)
    if (family or runtime.family) == "cpu":
        defines = {} if k is None else {"MOST": MAX_TOP_K}
        kernel = runtime.kernel(f"{name}_cpu.cl", name, signature, **defines)
        runtime.launch(kernel, (R,), (1,), logits_RV, ids, values, *sizes)
    else:
        kernel = runtime.kernel(f"{name}.cl", name, signature, GROUP=_GROUP)
        runtime.launch(kernel, (R * _GROUP,), (_GROUP,), logits_RV, ids, values, *sizes)
    return ids.numpy(), values.numpy()


def softmax(
    logits_RV: DeviceArray,
    totals_R: DeviceArray,
    *,
    in_place: bool = True,
    family: Family | None = None,
) -> None:
    """totals[r] = log of the sum over v of exp(logits[r, v]), f32.

    With `in_place` the logits become probabilities, exp(logits - totals).

    Raises:
        ValueError: shapes that do not fit.
    """
    runtime = logits_RV.runtime
    R, V = logits_RV.shape
    expect("softmax", "totals_R", totals_R, (R,))
    if (family or runtime.family) == "cpu":
        kernel = runtime.kernel("softmax_cpu.cl", "softmax", "bbuu")
        runtime.launch(kernel, (R,), (1,), logits_RV, totals_R, V, int(in_place))
    else:
        kernel = runtime.kernel("softmax.cl", "softmax", "bbuu", GROUP=_GROUP)
        items, local = (R * _GROUP,), (_GROUP,)
        runtime.launch(kernel, items, local, logits_RV, totals_R, V, int(in_place))
