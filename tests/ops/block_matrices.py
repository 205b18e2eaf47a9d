"""Matrices in blocks of random numbers, on a device as checkpoints place them."""

import numpy as np

from cl_llama import ops
from cl_llama.blocks import FORMATS
from cl_llama.blocks.layouts import LAYOUTS
from cl_llama.opencl.runtime import Runtime


def random_blocks(format: str, rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """uint8 [rows, bytes of a row]: every bit random, but scales within a factor of two."""
    count = rows * columns // FORMATS[format].elements
    data = rng.integers(0, 256, (count, FORMATS[format].nbytes), dtype=np.uint8)
    blocks = data.view(LAYOUTS[format])[:, 0]
    for field in ("d", "m", "dmin"):
        if field in (blocks.dtype.names or ()):
            signs = rng.choice([-1, 1], count)
            blocks[field] = (rng.uniform(0.01, 0.02, count) * signs).astype(np.float16)
    return data.reshape(rows, -1)


def place(
    runtime: Runtime,
    format: str,
    blocks: np.ndarray,
    *,
    segment_rows: int | None = None,
    offset: int = 0,
    stride_extra: int = 0,
) -> ops.Weight:
    """The matrix in segments, at an offset, with a stride beyond its width (bytes)."""
    N, row_bytes = blocks.shape
    stride = row_bytes + stride_extra
    segments = []
    for first in range(0, N, segment_rows or N):
        rows = blocks[first : first + (segment_rows or N)]
        host = np.full(offset + len(rows) * stride, 0xFF, np.uint8)  # NaN, read as scales
        host[offset:].reshape(len(rows), stride)[:, :row_bytes] = rows
        buffer = runtime.from_numpy(host[: len(host) - stride_extra].copy()).buffer
        segments.append(ops.Segment(buffer, offset, stride, first, len(rows)))
    form = FORMATS[format]
    columns = row_bytes // form.nbytes * form.elements
    return ops.Weight(runtime, tuple(segments), N, columns, format)
