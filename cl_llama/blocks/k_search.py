"""Quantisers of q4_k, q5_k and q6_k: the scales of each group are searched, not computed.

Each group of x tries a range of scales around the one that spans it; rounding with such a scale
fixes q, and the best scale (and offset) for that q under weights w is a least-squares solution:

    min over s, t of  sum w (s q + t - x)^2        with t <= 0 (q4_k, q5_k) or t = 0 (q6_k)

The best solution rounds once more, and the try with the least error wins. Weights are those of
GGUF's reference, w = |x| + the group's root mean square for q4_k and q5_k, w = x^2 for q6_k. It
tries about twenty scales and does not round again; the few here err as little, or less.

A group is a column throughout, so that sums over it are sums of rows.
"""

import numpy as np

from cl_llama.blocks.k_quants import pack_six_bits
from cl_llama.blocks.layouts import LAYOUTS, Blocks, Bytes, Floats, pack
from cl_llama.blocks.plain import inverse

_OFFSET_TRIES = np.linspace(-1.2, 0.45, 5, dtype=np.float32)
"""What is added to the greatest q where the group's greatest value goes; it rounds to that q."""

_TRIES = np.linspace(-1.5, 0.5, 4, dtype=np.float32)
"""The same of q6_k."""

_EQUAL = np.float32(1e-5)
"""A relative variance of q below this is rounding: all q of the group are equal."""


def quantize_q4_k(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 256]."""
    blocks = np.empty(len(values), LAYOUTS["q4_k"])
    _set_fours(_search_with_offsets(values, 15, blocks), blocks)
    return blocks


def quantize_q5_k(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 256]."""
    blocks = np.empty(len(values), LAYOUTS["q5_k"])
    q_EG = _search_with_offsets(values, 31, blocks)
    blocks["high"] = np.packbits(q_EG >> np.uint8(4), axis=1, bitorder="little").T
    q_EG &= np.uint8(15)
    _set_fours(q_EG, blocks)
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
    x_EG *= inverse(held).reshape(-1)
    _round(x_EG, -32, 31)
    x_EG += np.float32(32)
    q = np.ascontiguousarray(x_EG.astype(np.uint8).T)
    blocks["q"] = pack((q & np.uint8(15)).reshape(-1, 2, 2, 64), 4).reshape(-1, 128)
    blocks["high"] = pack((q >> np.uint8(4)).reshape(-1, 2, 4, 32), 2).reshape(-1, 64)
    return blocks


def _set_fours(q_EG: Bytes, blocks: Blocks) -> None:
    """The blocks' `q` of numbers of four bits: even groups in the low halves of bytes."""
    pairs = q_EG.reshape(32, -1, 4, 2)
    both = pairs[..., 1] << np.uint8(4)
    both |= pairs[..., 0]
    blocks["q"] = both.transpose(1, 2, 0).reshape(-1, 128)


def _search_with_offsets(values: Floats, levels: int, blocks: Blocks) -> Bytes:
    """q in [0, levels], [32, 8 n]; sets the blocks' `d`, `dmin` and `scales`."""
    x_EG = np.ascontiguousarray(values.reshape(-1, 32).T)
    scales, offsets = _best_scales_and_offsets(x_EG, levels)
    d = scales.reshape(-1, 8).max(axis=1, keepdims=True) / np.float32(63)
    dmin = offsets.reshape(-1, 8).max(axis=1, keepdims=True) / np.float32(63)
    blocks["d"], blocks["dmin"] = d[:, 0], dmin[:, 0]
    s, t = (
        np.minimum(np.rint(found.reshape(-1, 8) * inverse(unit)), np.float32(63)).astype(np.uint8)
        for found, unit in ((scales, d), (offsets, dmin))
    )
    blocks["scales"] = pack_six_bits(s, t)
    x_EG += (blocks["dmin"].astype(np.float32)[:, None] * t).reshape(-1)
    x_EG *= inverse(blocks["d"].astype(np.float32)[:, None] * s).reshape(-1)
    return _round(x_EG, 0, levels).astype(np.uint8)


def _best_scales_and_offsets(x_EG: Floats, levels: int) -> tuple[Floats, Floats]:
    """Of each group: s >= 0 and t >= 0 such that s * q - t is near x."""
    w_EG = np.abs(x_EG)
    w_EG += np.sqrt(_sums(x_EG, x_EG) / np.float32(len(x_EG)))
    wx_EG = w_EG * x_EG
    sum_w, sum_wx = w_EG.sum(axis=0), wx_EG.sum(axis=0)
    least = np.minimum(x_EG.min(axis=0), np.float32(0))
    above_EG = x_EG - least
    unit = inverse(above_EG.max(axis=0))
    best_s, best_t = np.zeros_like(least), np.minimum(sum_wx * inverse(sum_w), np.float32(0))
    best_gain = best_t * sum_wx  # of q = 0; the error is sum w x^2 less the gain
    q_EG = np.empty_like(x_EG)

    def solve() -> None:
        nonlocal best_s, best_t, best_gain
        sum_wxq, sum_wq, sum_wqq = _sums(wx_EG, q_EG), _sums(w_EG, q_EG), _sums(w_EG, q_EG, q_EG)
        spread = sum_w * sum_wqq - sum_wq * sum_wq
        scale_by = inverse(spread)
        s = (sum_w * sum_wxq - sum_wx * sum_wq) * scale_by
        t = (sum_wqq * sum_wx - sum_wq * sum_wxq) * scale_by
        no_offset = (t > 0) | (spread <= _EQUAL * sum_w * sum_wqq)
        s = np.where(no_offset, sum_wxq * inverse(sum_wqq), s)
        t = np.where(no_offset, np.float32(0), t)
        gain = s * sum_wxq + t * sum_wx
        better = gain > best_gain
        best_s, best_t = np.where(better, s, best_s), np.where(better, t, best_t)
        best_gain = np.maximum(gain, best_gain)

    for added in _OFFSET_TRIES:
        np.multiply(above_EG, (levels + added) * unit, out=q_EG)
        np.rint(q_EG, out=q_EG)
        solve()
    np.subtract(x_EG, best_t, out=q_EG)
    q_EG *= inverse(best_s)
    _round(q_EG, 0, levels)
    solve()
    return best_s, -best_t


def _best_scales(x_EG: Floats) -> Floats:
    """Of each group: s, of either sign, such that s * q is near x."""
    extreme: Floats = np.take_along_axis(x_EG, np.abs(x_EG).argmax(axis=0, keepdims=True), axis=0)[
        0
    ]
    unit = -inverse(extreme)
    w_EG = np.square(x_EG)
    wx_EG = w_EG * x_EG
    best_s, best_gain = np.zeros_like(extreme), np.zeros_like(extreme)
    q_EG = np.empty_like(x_EG)

    def solve(by: Floats) -> None:
        nonlocal best_s, best_gain
        np.multiply(x_EG, by, out=q_EG)
        _round(q_EG, -32, 31)
        sum_wxq = _sums(wx_EG, q_EG)
        s = sum_wxq * inverse(_sums(w_EG, q_EG, q_EG))
        gain = s * sum_wxq
        best_s, best_gain = np.where(gain > best_gain, s, best_s), np.maximum(gain, best_gain)

    for added in _TRIES:
        solve((32 + added) * unit)
    solve(inverse(best_s))
    return best_s


def _round(x: Floats, least: int, most: int) -> Floats:
    """x, which becomes whole numbers in [least, most]."""
    np.rint(x, out=x)
    return np.clip(x, np.float32(least), np.float32(most), out=x)


def _sums(*factors_EG: Floats) -> Floats:
    """Of the products of each group."""
    sums: Floats = np.einsum(",".join(["eg"] * len(factors_EG)) + "->g", *factors_EG)
    return sums
