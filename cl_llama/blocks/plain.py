"""Formats of 32 values a block with one scale and perhaps one offset: q8_0, q4_0, q4_1, q5_0, q5_1.

    q8_0, q4_0, q5_0:  value = d * q        q in [-127, 127], [-8, 7], [-16, 15]
    q4_1, q5_1:        value = d * q + m    q in [0, 15], [0, 31]

Value j < 16 is in the low half of byte j, value j + 16 in the high half of it; the fifth bits of
all 32 are a field of their own. Scales are chosen as GGUF's reference does it: the value of the
greatest magnitude (q8_0, q4_0, q5_0), or the least and the greatest one, are met exactly.
"""

import numpy as np

from cl_llama.blocks.layouts import LAYOUTS, Blocks, Bytes, Floats, pack, scale_column, unpack


def dequantize_q8_0(blocks: Blocks) -> Floats:
    """Float32 [n, 32] of n blocks."""
    values: Floats = blocks["q"] * scale_column(blocks["d"])
    return values


def dequantize_q4_0(blocks: Blocks) -> Floats:
    """Float32 [n, 32] of n blocks."""
    return _scaled(_nibbles(blocks), blocks, -8.0)


def dequantize_q4_1(blocks: Blocks) -> Floats:
    """Float32 [n, 32] of n blocks."""
    return _scaled(_nibbles(blocks), blocks, 0.0) + scale_column(blocks["m"])


def dequantize_q5_0(blocks: Blocks) -> Floats:
    """Float32 [n, 32] of n blocks."""
    return _scaled(_five_bits(blocks), blocks, -16.0)


def dequantize_q5_1(blocks: Blocks) -> Floats:
    """Float32 [n, 32] of n blocks."""
    return _scaled(_five_bits(blocks), blocks, 0.0) + scale_column(blocks["m"])


def quantize_q8_0(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 32]."""
    blocks = np.empty(len(values), LAYOUTS["q8_0"])
    largest: Floats = np.abs(values)
    while largest.shape[1] > 1:  # halves of all rows are faster than a maximum of each
        left, right = np.split(largest, 2, axis=1)
        largest = np.maximum(left, right)
    d: Floats = largest / np.float32(127)
    scaled = values * inverse(d)
    blocks["d"] = d[:, 0]
    scaled += np.copysign(np.float32(0.5), scaled)
    blocks["q"] = scaled  # without what is behind the point
    return blocks


def quantize_q4_0(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 32]."""
    blocks = np.empty(len(values), LAYOUTS["q4_0"])
    blocks["q"] = pack(_symmetric(values, 8, blocks).reshape(-1, 2, 16), 4)
    return blocks


def quantize_q4_1(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 32]."""
    blocks = np.empty(len(values), LAYOUTS["q4_1"])
    blocks["q"] = pack(_from_least(values, 15, blocks).reshape(-1, 2, 16), 4)
    return blocks


def quantize_q5_0(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 32]."""
    blocks = np.empty(len(values), LAYOUTS["q5_0"])
    _set_five_bits(blocks, _symmetric(values, 16, blocks))
    return blocks


def quantize_q5_1(values: Floats) -> Blocks:
    """Blocks [n] of float32 [n, 32]."""
    blocks = np.empty(len(values), LAYOUTS["q5_1"])
    _set_five_bits(blocks, _from_least(values, 31, blocks))
    return blocks


def inverse(scales: Floats) -> Floats:
    """1 / x, and 0 where x is 0."""
    return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)


def _nibbles(blocks: Blocks) -> Bytes:
    return unpack(blocks["q"], 4).reshape(-1, 32)


def _five_bits(blocks: Blocks) -> Bytes:
    high = np.unpackbits(blocks["high"], axis=1, bitorder="little")
    return _nibbles(blocks) | high << np.uint8(4)


def _set_five_bits(blocks: Blocks, q: Bytes) -> None:
    blocks["q"] = pack((q & np.uint8(15)).reshape(-1, 2, 16), 4)
    blocks["high"] = np.packbits(q >> np.uint8(4), axis=1, bitorder="little")


def _scaled(q: Bytes, blocks: Blocks, zero: float) -> Floats:
    values = q.astype(np.float32)
    values += np.float32(zero)
    values *= scale_column(blocks["d"])
    return values


def _symmetric(values: Floats, half: int, blocks: Blocks) -> Bytes:
    """q + half, the value of the greatest magnitude at q = -half; sets the blocks' `d`."""
    extreme = np.abs(values).argmax(axis=1, keepdims=True)
    d = np.take_along_axis(values, extreme, axis=1) / np.float32(-half)
    blocks["d"] = d[:, 0]
    q = values * inverse(d)
    q += np.float32(half + 0.5)
    return _whole(q, 2 * half - 1)


def _from_least(values: Floats, levels: int, blocks: Blocks) -> Bytes:
    """q in [0, levels], the least value at 0, the greatest at `levels`; sets `d` and `m`."""
    least = values.min(axis=1, keepdims=True)
    d = (values.max(axis=1, keepdims=True) - least) / np.float32(levels)
    blocks["d"], blocks["m"] = d[:, 0], least[:, 0]
    q = values - least
    q *= inverse(d)
    q += np.float32(0.5)
    return _whole(q, levels)


def _whole(q: Floats, most: int) -> Bytes:
    """q >= 0 without what is behind the point, and at most so much."""
    whole: Bytes = q.astype(np.uint8)
    return np.minimum(whole, np.uint8(most), out=whole)
