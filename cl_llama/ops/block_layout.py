"""The order in which a family of kernels wants quantised blocks: files have them row by row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import FORMATS
from cl_llama.opencl.runtime import Family

LANES = 16
"""Rows of which the CPU family's kernels have one in each lane of a vector."""


@dataclass(frozen=True)
class _Fields:
    """A block's parts in the file's order: `halves` of 16 bits, words of 32, `last` halves."""

    halves: int
    last: int = 0


_FIELDS = {
    "q8_0": _Fields(1),
    "q4_0": _Fields(1),
    "q4_1": _Fields(2),
    "q5_0": _Fields(1),
    "q5_1": _Fields(2),
    "q2_k": _Fields(0, 2),
    "q3_k": _Fields(0, 1),
    "q4_k": _Fields(2),
    "q5_k": _Fields(2),
    "q6_k": _Fields(0, 1),
    "iq4_nl": _Fields(1),
    "iq4_xs": _Fields(2),
}


def lanes_of(family: Family) -> int:
    """Rows whose blocks are interleaved for a family's kernels; 1 is the file's order."""
    return LANES if family == "cpu" else 1


def interleave(name: str, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of blocks [N, row bytes] in groups of 16: [ceil(N / 16), 16 * row bytes].

    In a group, block follows block, and in the blocks of a column each half and each word of 32
    bits is stored for all sixteen rows before the next. Rows that a last group lacks are zero. The
    fifth bits of q5_0 and q5_1 are put in the order in which kernels take them: bit i is that of
    weight 4 * (i // 2) + i % 2, bit 16 + i that of the weight two after it.
    """
    form, fields = FORMATS[name], _FIELDS[name]
    rows, row_bytes = blocks.shape
    count = row_bytes // form.nbytes
    groups = -(-rows // LANES)
    if rows % LANES:
        blocks = np.concatenate([blocks, np.zeros((-rows % LANES, row_bytes), np.uint8)])
    grouped = blocks.reshape(groups, LANES, count, form.nbytes).swapaxes(1, 2)
    out = np.empty((groups, count, LANES * form.nbytes), np.uint8)
    words, last = 2 * fields.halves, form.nbytes - 2 * fields.last
    for start, stop, size in ((0, words, 2), (words, last, 4), (last, form.nbytes, 2)):
        if start == stop:
            continue
        items = np.ascontiguousarray(grouped[..., start:stop]).view(f"<u{size}")
        to = out[..., LANES * start : LANES * stop].view(f"<u{size}")
        if name in ("q5_0", "q5_1") and size == 4:
            items[..., 0] = _pair_bits(items[..., 0])
        to.reshape(groups, count, -1, LANES)[...] = items.swapaxes(2, 3)
    return out.reshape(groups, -1)


def _pair_bits(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    ordered = np.zeros_like(bits)
    for i in range(16):
        weight = 4 * (i // 2) + i % 2
        ordered |= (bits >> np.uint32(weight) & np.uint32(1)) << np.uint32(i)
        ordered |= (bits >> np.uint32(weight + 2) & np.uint32(1)) << np.uint32(16 + i)
    return ordered
