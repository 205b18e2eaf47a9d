"""Blocks of any format to float32 and back, for arrays of any size.

Large arrays are worked on in pieces, several at once: small enough for the caches, large enough
that threads seldom meet at the interpreter's lock.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import k_quants, k_search, lookup, plain
from cl_llama.blocks.formats import FORMATS, QUANTIZABLE, BlockFormat
from cl_llama.blocks.layouts import LAYOUTS, Blocks, Bytes, Floats

_PIECE = 1 << 18
"""Values worked on at a time."""

_LARGEST = 65520.0
"""What rounds to infinity in float16, where the scales are held."""

_DEQUANTIZE: dict[str, Callable[[Blocks], Floats]] = {
    "q8_0": plain.dequantize_q8_0,
    "q4_0": plain.dequantize_q4_0,
    "q4_1": plain.dequantize_q4_1,
    "q5_0": plain.dequantize_q5_0,
    "q5_1": plain.dequantize_q5_1,
    "q2_k": k_quants.dequantize_q2_k,
    "q3_k": k_quants.dequantize_q3_k,
    "q4_k": k_quants.dequantize_q4_k,
    "q5_k": k_quants.dequantize_q5_k,
    "q6_k": k_quants.dequantize_q6_k,
    "iq4_nl": lookup.dequantize_iq4_nl,
    "iq4_xs": lookup.dequantize_iq4_xs,
}
_QUANTIZE: dict[str, Callable[[Floats], Blocks]] = {
    "q8_0": plain.quantize_q8_0,
    "q4_0": plain.quantize_q4_0,
    "q4_1": plain.quantize_q4_1,
    "q5_0": plain.quantize_q5_0,
    "q5_1": plain.quantize_q5_1,
    "q4_k": k_search.quantize_q4_k,
    "q5_k": k_search.quantize_q5_k,
    "q6_k": k_search.quantize_q6_k,
}


def dequantize(name: str, blocks: Bytes) -> Floats:
    """Values float32 [..., n * elements] of blocks uint8 [..., n * nbytes], sizes of FORMATS[name].

    Raises ValueError for an unknown format and for rows that are no whole number of blocks.
    """
    form = _known(name)
    rows = np.ascontiguousarray(blocks, dtype=np.uint8)
    if rows.shape[-1] % form.nbytes:
        raise ValueError(f"{name}: {rows.shape[-1]} bytes are no multiple of {form.nbytes}")
    count = rows.size // form.nbytes
    structured = rows.reshape(-1).view(LAYOUTS[name])
    values = np.empty((count, form.elements), np.float32)

    def work(part: slice) -> None:
        values[part] = _DEQUANTIZE[name](structured[part])

    _in_pieces(work, count, form)
    return values.reshape(*rows.shape[:-1], rows.shape[-1] // form.nbytes * form.elements)


def quantize(name: str, values: NDArray[Any]) -> Bytes:
    """Blocks uint8 [..., n * nbytes] of float values [..., n * elements], sizes of FORMATS[name].

    Raises ValueError for a format that is not in QUANTIZABLE, for rows that are no whole number of
    blocks, and for a value that is not finite or beyond float16's range.
    """
    form = _known(name)
    if name not in _QUANTIZE:
        raise ValueError(f"{name}: not a format to quantise to; choose {', '.join(QUANTIZABLE)}")
    row_bytes = form.row_bytes(values.shape[-1])
    groups = np.ascontiguousarray(values).reshape(-1, form.elements)
    blocks = np.empty(len(groups), LAYOUTS[name])

    def work(part: slice) -> None:
        piece = groups[part].astype(np.float32, copy=False)
        largest = float(np.abs(piece).max(initial=0.0))
        if not largest < _LARGEST:  # NaN fails, too
            raise ValueError(f"{name}: a value is {largest:g}, the format ends at 65504")
        blocks[part] = _QUANTIZE[name](piece)

    _in_pieces(work, len(groups), form)
    return blocks.view(np.uint8).reshape(*values.shape[:-1], row_bytes)


def _known(name: str) -> BlockFormat:
    form = FORMATS.get(name)
    if form is None:
        raise ValueError(f"{name}: no such block format; there are {', '.join(FORMATS)}")
    return form


def _in_pieces(work: Callable[[slice], None], count: int, form: BlockFormat) -> None:
    """Call `work` for all of `count` blocks, a piece at a time; NumPy lets threads run at once."""
    step = _PIECE // form.elements
    parts = [slice(start, start + step) for start in range(0, count, step)]
    if len(parts) == 1:
        work(parts[0])
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(work, part) for part in parts]:
            done.result()
