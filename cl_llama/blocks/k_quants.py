"""Formats of 256 values a block in groups with scales that are quantised, too: q2_k to q6_k.

q2_k:        16 groups of 16    value = d * s * q - dmin * t    s, t in [0, 15], q in [0, 3]
q3_k:        16 groups of 16    value = d * s * q               s in [-32, 31], q in [-4, 3]
q4_k, q5_k:   8 groups of 32    value = d * s * q - dmin * t    s, t in [0, 63], q in [0, 15]
                                                                or [0, 31]
q6_k:        16 groups of 16    value = d * s * q               s int8, q in [-32, 31]
"""

import numpy as np

from cl_llama.blocks.layouts import Blocks, Bytes, Floats, scale_column, unpack


def dequantize_q2_k(blocks: Blocks) -> Floats:
    """Float32 [n, 256] of n blocks."""
    q = unpack(blocks["q"].reshape(-1, 2, 32), 2).reshape(-1, 16, 16)
    scales = scale_column(blocks["d"]) * (blocks["scales"] & np.uint8(15))
    offsets = scale_column(blocks["dmin"]) * (blocks["scales"] >> np.uint8(4))
    return _values(q, scales, offsets)


def dequantize_q3_k(blocks: Blocks) -> Floats:
    """Float32 [n, 256] of n blocks; a high bit that is not set takes 4 away."""
    low = unpack(blocks["q"].reshape(-1, 2, 32), 2).reshape(-1, 16, 16)
    high = unpack(blocks["high"], 1).reshape(-1, 16, 16)
    packed = blocks["scales"]
    scales = unpack(packed[:, :8], 4).reshape(-1, 16)
    scales |= unpack(packed[:, 8:], 2).reshape(-1, 16) << np.uint8(4)
    signed = scales.astype(np.float32) - np.float32(32)
    q = low.astype(np.float32) + np.float32(4) * high - np.float32(4)
    return _values(q, scale_column(blocks["d"]) * signed)


def dequantize_q4_k(blocks: Blocks) -> Floats:
    """Float32 [n, 256] of n blocks."""
    q = unpack(blocks["q"].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
    return _values(q, *_scales_and_offsets(blocks))


def dequantize_q5_k(blocks: Blocks) -> Floats:
    """Float32 [n, 256] of n blocks."""
    q = unpack(blocks["q"].reshape(-1, 4, 32), 4).reshape(-1, 8, 32)
    q |= unpack(blocks["high"], 1) << np.uint8(4)
    return _values(q, *_scales_and_offsets(blocks))


def dequantize_q6_k(blocks: Blocks) -> Floats:
    """Float32 [n, 256] of n blocks."""
    low = unpack(blocks["q"].reshape(-1, 2, 64), 4).reshape(-1, 16, 16)
    high = unpack(blocks["high"].reshape(-1, 2, 32), 2).reshape(-1, 16, 16)
    q = (low | high << np.uint8(4)).astype(np.float32) - np.float32(32)
    return _values(q, scale_column(blocks["d"]) * blocks["scales"])


def unpack_six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """The eight scales and eight offsets [n, 8], six bits each, of q4_k's and q5_k's 12 bytes.

    Bytes 0 to 3 and 4 to 7 hold those of groups 0 to 3, and in their upper two bits those of
    groups 4 to 7; the lower four bits of these are in the halves of bytes 8 to 11.
    """
    first, upper = packed[:, :8] & np.uint8(63), packed[:, :8] >> np.uint8(6) << np.uint8(4)
    scales = np.concatenate((first[:, :4], packed[:, 8:] & np.uint8(15) | upper[:, :4]), axis=1)
    offsets = np.concatenate((first[:, 4:], packed[:, 8:] >> np.uint8(4) | upper[:, 4:]), axis=1)
    return scales, offsets


def pack_six_bits(scales: Bytes, offsets: Bytes) -> Bytes:
    """The inverse of `unpack_six_bits`: [n, 12]."""
    both = np.concatenate((scales[:, :4], offsets[:, :4]), axis=1)
    upper = np.concatenate((scales[:, 4:], offsets[:, 4:]), axis=1) >> np.uint8(4)
    halves = scales[:, 4:] & np.uint8(15) | offsets[:, 4:] << np.uint8(4)
    return np.concatenate((both | upper << np.uint8(6), halves), axis=1)


def _scales_and_offsets(blocks: Blocks) -> tuple[Floats, Floats]:
    scales, offsets = unpack_six_bits(blocks["scales"])
    return scale_column(blocks["d"]) * scales, scale_column(blocks["dmin"]) * offsets


def _values(q: Bytes | Floats, scales: Floats, offsets: Floats | None = None) -> Floats:
    """scales * q - offsets, [n, groups, values a group] with [n, groups], as [n, 256]."""
    values = q * scales[..., None]
    if offsets is not None:
        values -= offsets[..., None]
    return values.reshape(-1, 256)
