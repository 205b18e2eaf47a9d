"""Where the fields of a block lie, byte by byte, and how several small numbers share a byte.

Multi-byte fields are little-endian. `d` is a block's float16 scale, `m` or `dmin` the float16 that
scales what is added or taken away.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Blocks = NDArray[np.void]
"""Structured array [n]: n blocks of one of `LAYOUTS`."""

LAYOUTS: dict[str, np.dtype[Any]] = {
    name: np.dtype(fields)
    for name, fields in {
        "q8_0": [("d", "<f2"), ("q", "i1", 32)],
        "q4_0": [("d", "<f2"), ("q", "u1", 16)],
        "q4_1": [("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)],
        "q5_0": [("d", "<f2"), ("high", "u1", 4), ("q", "u1", 16)],
        "q5_1": [("d", "<f2"), ("m", "<f2"), ("high", "u1", 4), ("q", "u1", 16)],
        "q2_k": [("scales", "u1", 16), ("q", "u1", 64), ("d", "<f2"), ("dmin", "<f2")],
        "q3_k": [("high", "u1", 32), ("q", "u1", 64), ("scales", "u1", 12), ("d", "<f2")],
        "q4_k": [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("q", "u1", 128)],
        "q5_k": [
            ("d", "<f2"),
            ("dmin", "<f2"),
            ("scales", "u1", 12),
            ("high", "u1", 32),
            ("q", "u1", 128),
        ],
        "q6_k": [("q", "u1", 128), ("high", "u1", 64), ("scales", "i1", 16), ("d", "<f2")],
        "iq4_nl": [("d", "<f2"), ("q", "u1", 16)],
        "iq4_xs": [("d", "<f2"), ("scales_high", "<u2"), ("scales", "u1", 4), ("q", "u1", 128)],
    }.items()
}


def scale_column(field: NDArray[Any]) -> Floats:
    """A field of one number a block, [n], as float32 [n, 1]."""
    return field.astype(np.float32)[:, None]


def unpack(packed: Bytes, bits: int) -> Bytes:
    """The numbers of `bits` bits in each byte, lowest first: [..., m] -> [..., 8 // bits, m]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    unpacked: Bytes = packed[..., None, :] >> shifts
    unpacked &= np.uint8((1 << bits) - 1)
    return unpacked


def pack(numbers: Bytes, bits: int) -> Bytes:
    """The inverse of `unpack`: [..., 8 // bits, m] -> [..., m]."""
    packed = numbers[..., 0, :].copy()
    for i in range(1, 8 // bits):
        packed |= numbers[..., i, :] << np.uint8(bits * i)
    return packed
