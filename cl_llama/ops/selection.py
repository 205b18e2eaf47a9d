"""What is asked of logits: the largest, the k largest, certain ones, probabilities."""

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import DeviceArray, Family
from cl_llama.ops.shapes import ceil_div, expect

MAX_TOP_K = 64
_GROUP = 64
_PART = 2048
"""Values that a work-group of the portable family looks through: a long row has many."""


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
    if (family or runtime.family) == "cpu":
        sizes = (V,) if k is None else (V, k)
        signature = "bbb" + "u" * len(sizes)
        defines = {} if k is None else {"MOST": MAX_TOP_K}
        kernel = runtime.kernel(f"{name}_cpu.cl", name, signature, **defines)
        runtime.launch(kernel, (R,), (1,), logits_RV, ids, values, *sizes)
    else:
        extra = () if k is None else (k,)
        signature = "bbbbuuu" + "u" * len(extra)
        kernel = runtime.kernel(f"{name}.cl", name, signature, GROUP=_GROUP)
        # The first run finds the best of each part, the second the best of these.
        source, source_ids, parts, given = logits_RV, ids, ceil_div(V, _PART), 0
        if parts > 1:
            shape = (R, parts * (k or 1))
            found_ids = runtime.scratch("part_ids", shape, np.int32)
            found = runtime.scratch("part_values", shape, np.float32)
            runtime.launch(
                kernel,
                (parts * _GROUP, R),
                (_GROUP, 1),
                *(source, ids, found_ids, found, V, _PART, 0),
                *extra,
            )
            source, source_ids, V, given = found, found_ids, shape[1], 1
        runtime.launch(
            kernel,
            (_GROUP, R),
            (_GROUP, 1),
            *(source, source_ids, ids, values, V, V, given),
            *extra,
        )
    found_ids_Rk, found_Rk = np.empty(ids.shape, ids.dtype), np.empty(values.shape, values.dtype)
    if R:
        runtime.read((ids.buffer, found_ids_Rk), (values.buffer, found_Rk))
    return found_ids_Rk, found_Rk


def pick(logits_RV: DeviceArray, ids_R: NDArray[np.int32]) -> NDArray[np.float32]:
    """The value of each row at its id, [R].

    Raises:
        ValueError: an id is not in [0, V), or they are not R.
    """
    runtime = logits_RV.runtime
    R, V = logits_RV.shape
    if ids_R.shape != (R,) or not ((ids_R >= 0) & (ids_R < V)).all():
        raise ValueError(f"pick: expected {R} ids from 0 to {V - 1}, got {ids_R!r:.80}")
    picked = runtime.scratch("picked", (R,), np.float32)
    kernel = runtime.kernel("pick.cl", "pick", "bbbuu")
    items = (ceil_div(R, _GROUP) * _GROUP,)
    ids = runtime.from_numpy(ids_R.astype(np.int32))
    runtime.launch(kernel, items, (_GROUP,), logits_RV, ids, picked, R, V)
    picked_R: NDArray[np.float32] = picked.numpy()
    return picked_R


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
        count = ceil_div(V, _PART)
        parts = runtime.scratch("softmax_parts", (R, count, 2), np.float32)
        ends = runtime.scratch("softmax_ends", (R, 2), np.float32)
        local = (_GROUP, 1)
        kernel = runtime.kernel("softmax.cl", "softmax_parts", "bbuu", GROUP=_GROUP)
        runtime.launch(kernel, (count * _GROUP, R), local, logits_RV, parts, V, _PART)
        kernel = runtime.kernel("softmax.cl", "softmax_totals", "bbbu", GROUP=_GROUP)
        runtime.launch(kernel, (_GROUP, R), local, parts, ends, totals_R, count)
        if in_place:
            kernel = runtime.kernel("softmax.cl", "softmax_write", "bbu", GROUP=_GROUP)
            items = (ceil_div(V, _GROUP) * _GROUP, R)
            runtime.launch(kernel, items, local, ends, logits_RV, V)
