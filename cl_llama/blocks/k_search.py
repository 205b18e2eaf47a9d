"""Quantisers of q4_k, q5_k and q6_k: the scales of each group are searched, not computed.

Each group of x tries a range of scales around the one that spans it; rounding with such a scale
fixes q, and the best scale (and offset) for that q under weights w is a least-squares solution:

    min over s, t of  sum w (s q + t - x)^2        with t <= 0 (q4_k, q5_k) or t = 0 (q6_k)

The try with the least error wins. Scales, ranges and weights are those of GGUF's reference:
w = |x| + the group's root mean square for q4_k and q5_k, w = x^2 for q6_k.
"""

import numpy as np

from cl_llama.blocks.k_quants import pack_six_bits
from cl_llama.blocks.layouts import LAYOUTS, Blocks, Bytes, Floats, pack
from cl_llama.blocks.plain import inverse

_STEP = np.float32(0.1)

_EQUAL = np.float32(1e-5)
"""A relative variance of q below this is rounding: all q of the group are equal."""


def quantize_q4_k(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 256]."""
    blocks = np.empty(len(values), LAYOUTS["q4_k"])
    q = _search_with_offsets(values, 15, range(-10, 11), blocks)
    blocks["q"] = pack(q.reshape(-1, 4, 2, 32), 4).reshape(-1, 128)
    return blocks


def quantize_q5_k(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 256]."""
    blocks = np.empty(len(values), LAYOUTS["q5_k"])
    q = _search_with_offsets(values, 31, range(-5, 11), blocks)
    blocks["q"] = pack((q & np.uint8(15)).reshape(-1, 4, 2, 32), 4).reshape(-1, 128)
    blocks["high"] = pack(q >> np.uint8(4), 1)
    return blocks


def quantize_q6_k(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 256]."""
    blocks = np.empty(len(values), LAYOUTS["q6_k"])
    x_EG = np.ascontiguousarray(values.reshape(-1, 16).T)
    scales = _best_scales(x_EG).reshape(-1, 16)
    extreme = np.abs(scales).argmax(axis=1, keepdims=True)
    d = np.take_along_axis(scales, extreme, axis=1) / np.float32(-128)
    blocks["d"] = d[:, 0]
    blocks["scales"] = np.minimum(np.rint(scales * inverse(d)), np.float32(127))
    held = blocks["d"].astype(np.float32)[:, None] * blocks["scales"]
    q = np.rint(values.reshape(-1, 16, 16) * inverse(held)[..., None])
    shifted = (np.clip(q, -32, 31) + np.float32(32)).astype(np.uint8)
    blocks["q"] = pack((shifted & np.uint8(15)).reshape(-1, 2, 2, 64), 4).reshape(-1, 128)
    blocks["high"] = pack((shifted >> np.uint8(4)).reshape(-1, 2, 4, 32), 2).reshape(-1, 64)
    return blocks


def _search_with_offsets(values: Floats, levels: int, tries: range, blocks: Blocks) -> Bytes:
    """q in [0, levels], [n, 8, 32]; sets the blocks' `d`, `dmin` and `scales`."""
    x_EG = np.ascontiguousarray(values.reshape(-1, 32).T)
    scales, offsets = _best_scales_and_offsets(x_EG, levels, tries)
    d = scales.reshape(-1, 8).max(axis=1, keepdims=True) / np.float32(63)
    dmin = offsets.reshape(-1, 8).max(axis=1, keepdims=True) / np.float32(63)
    blocks["d"], blocks["dmin"] = d[:, 0], dmin[:, 0]
    s, t = (
        np.minimum(np.rint(found.reshape(-1, 8) * inverse(unit)), np.float32(63)).astype(np.uint8)
        for found, unit in ((scales, d), (offsets, dmin))
    )
    blocks["scales"] = pack_six_bits(s, t)
    held_s = blocks["d"].astype(np.float32)[:, None] * s
    held_t = blocks["dmin"].astype(np.float32)[:, None] * t
    q = (values.reshape(-1, 8, 32) + held_t[..., None]) * inverse(held_s)[..., None]
    rounded: Bytes = np.clip(np.rint(q), 0, levels).astype(np.uint8)
    return rounded


def _best_scales_and_offsets(x_EG: Floats, levels: int, tries: range) -> tuple[Floats, Floats]:
    """Of each group (a column of x): s >= 0 and t >= 0 such that s * q - t is near x."""
    w_EG = np.abs(x_EG) + np.sqrt(np.mean(np.square(x_EG), axis=0))
    wx_EG = w_EG * x_EG
    sum_w, sum_wx = w_EG.sum(axis=0), wx_EG.sum(axis=0)
    least = np.minimum(x_EG.min(axis=0), np.float32(0))
    above_EG = x_EG - least
    unit = inverse(above_EG.max(axis=0))
    best_s, best_t = np.zeros_like(least), np.minimum(sum_wx * inverse(sum_w), np.float32(0))
    best_gain = best_t * sum_wx  # of q = 0; the error is sum w x^2 less the gain
    q_EG, scratch_EG = np.empty_like(x_EG), np.empty_like(x_EG)
    for step in tries:
        np.multiply(above_EG, (levels + step * _STEP) * unit, out=q_EG)
        np.rint(q_EG, out=q_EG)
        np.minimum(q_EG, np.float32(levels), out=q_EG)
        sum_wxq = np.multiply(wx_EG, q_EG, out=scratch_EG).sum(axis=0)
        sum_wq = np.multiply(w_EG, q_EG, out=scratch_EG).sum(axis=0)
        sum_wqq = np.multiply(scratch_EG, q_EG, out=scratch_EG).sum(axis=0)
        spread = sum_w * sum_wqq - sum_wq * sum_wq
        scale_by = inverse(spread)
        s = (sum_w * sum_wxq - sum_wx * sum_wq) * scale_by
        t = (sum_wqq * sum_wx - sum_wq * sum_wxq) * scale_by
        no_offset = (t > 0) | (spread <= _EQUAL * sum_w * sum_wqq)
        s = np.where(no_offset, sum_wxq * inverse(sum_wqq), s)
        t = np.where(no_offset, np.float32(0), t)
        gain = s * sum_wxq + t * sum_wx
        better = gain > best_gain
        for best, this in ((best_s, s), (best_t, t), (best_gain, gain)):
            np.copyto(best, this, where=better)
    return best_s, -best_t


def _best_scales(x_EG: Floats) -> Floats:
    """Of each group (a column of x): s, of either sign, such that s * q is near x."""
    extreme: Floats = np.take_along_axis(x_EG, np.abs(x_EG).argmax(axis=0, keepdims=True), axis=0)[
        0
    ]
    unit = -inverse(extreme)
    wx_EG = x_EG * x_EG * x_EG
    w_EG = np.square(x_EG)
    best_s, best_gain = np.zeros_like(extreme), np.zeros_like(extreme)
    q_EG, scratch_EG = np.empty_like(x_EG), np.empty_like(x_EG)
    for step in range(-9, 10):
        np.multiply(x_EG, (32 + step * _STEP) * unit, out=q_EG)
        np.rint(q_EG, out=q_EG)
        np.clip(q_EG, -32, 31, out=q_EG)
        sum_wxq = np.multiply(wx_EG, q_EG, out=scratch_EG).sum(axis=0)
        np.multiply(w_EG, q_EG, out=scratch_EG)
        s = sum_wxq * inverse(np.multiply(scratch_EG, q_EG, out=scratch_EG).sum(axis=0))
        gain = s * sum_wxq
        better = gain > best_gain
        np.copyto(best_s, s, where=better)
        np.copyto(best_gain, gain, where=better)
    return best_s
