"""The order in which a family of kernels wants quantised blocks: files have them row by row."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import FORMATS
from cl_llama.opencl.runtime import Family

LANES = 16
"""Rows of which the CPU family's kernels have one in each lane of a vector."""
_PIECE = 1 << 19
"""Bytes that are put in order at a time, several pieces at once: NumPy lets threads run."""


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
    fifth bits of q5_0 and q5_1 and all bits of q6_k are put in the order in which kernels take
    them: see `_bits_by_byte` and `_whole_numbers`.
    """
    rows, row_bytes = blocks.shape
    out = np.empty((-(-rows // LANES), LANES * row_bytes), np.uint8)
    step = max(1, _PIECE // (LANES * row_bytes))

    def work(group: int) -> None:
        out[group : group + step] = _groups(name, blocks[group * LANES : (group + step) * LANES])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(work, group) for group in range(0, len(out), step)]:
            done.result()
    return out


def _groups(name: str, blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if name == "q6_k":
        blocks = _whole_numbers(blocks)
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
            items[..., 0] = _bits_by_byte(items[..., 0])
        to.reshape(groups, count, -1, LANES)[...] = items.swapaxes(2, 3)
    return out.reshape(groups, -1)


def _bits_by_byte(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Bit i, that of weight i, becomes bit i // 4 of byte i % 4: where four bits have that byte."""
    ordered = np.zeros_like(bits)
    for i in range(32):
        ordered |= (bits >> np.uint32(i) & np.uint32(1)) << np.uint32(8 * (i % 4) + i // 4)
    return ordered


def _whole_numbers(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blocks of q6_k [N, row bytes] whose first 48 words hold all six bits of a number together.

    Each byte of three words has the numbers of three weights, 4 apart, in its low bits; their
    highest two bits make up a fourth number, the lowest bits being the first word's.
    """
    out = blocks.reshape(-1, FORMATS["q6_k"].nbytes).copy()
    packed = np.ascontiguousarray(out[:, :192]).view("<u4")  # four numbers a byte apart in each
    low, high = packed[:, :32].reshape(-1, 2, 16), packed[:, 32:].reshape(-1, 2, 8)
    numbers = np.empty((len(out), 2, 4, 8), np.uint32)
    for quarter in range(4):
        fours = low[..., 8 * (quarter % 2) :][..., :8] >> np.uint32(4 * (quarter // 2))
        twos = high >> np.uint32(2 * quarter)
        numbers[:, :, quarter] = fours & np.uint32(0x0F0F0F0F)
        numbers[:, :, quarter] |= (twos & np.uint32(0x03030303)) << np.uint32(4)
    fours = numbers.reshape(-1, 16, 4)
    words = fours[..., :3].astype("<u4")
    for i in range(3):
        words[..., i] |= (fours[..., 3] >> np.uint32(2 * i) & np.uint32(0x03030303)) << np.uint32(6)
    out[:, :192] = words.reshape(-1, 48).view(np.uint8)
    return out.reshape(blocks.shape)
