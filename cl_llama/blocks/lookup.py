"""Formats whose four bits choose one of sixteen uneven levels: iq4_nl and iq4_xs.

    iq4_nl:   32 values a block                      value = d * LEVELS[q]
    iq4_xs:  256 values a block, 8 groups of 32      value = d * s * LEVELS[q]    s in [-32, 31]

In 16 bytes, the low halves hold the first 16 values, the high halves the other 16.
"""

import numpy as np

from cl_llama.blocks.layouts import Blocks, Floats, scale_column, unpack

LEVELS = np.array(
    (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), np.float32
)


def dequantize_iq4_nl(blocks: Blocks) -> Floats:
    """Float32 [n, 32] of n blocks."""
    values: Floats = LEVELS[unpack(blocks["q"], 4).reshape(-1, 32)] * scale_column(blocks["d"])
    return values


def dequantize_iq4_xs(blocks: Blocks) -> Floats:
    """Float32 [n, 256] of n blocks."""
    groups = np.arange(8, dtype=np.uint16)
    scales = unpack(blocks["scales"][..., None], 4).reshape(-1, 8)
    upper = (blocks["scales_high"][:, None] >> (2 * groups)) & np.uint16(3)
    signed = (scales | upper << np.uint16(4)).astype(np.float32) - np.float32(32)
    levels = LEVELS[unpack(blocks["q"].reshape(-1, 8, 16), 4).reshape(-1, 8, 32)]
    return (levels * (scale_column(blocks["d"]) * signed)[..., None]).reshape(-1, 256)
