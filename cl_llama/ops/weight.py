"""A weight matrix in a device's memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cl_llama import blocks
from cl_llama.blocks import FORMATS
from cl_llama.errors import CheckpointError, DeviceMemoryError
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.ops.block_layout import interleave, lanes_of
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.to_half import to_half

if TYPE_CHECKING:
    import pyopencl as cl

_UPLOAD_BYTES = 32 << 20
"""Rows are copied in pieces of about this size, so that little host memory is in use at once."""
_STAGED_BYTES = 4 << 20
"""Values that the device rounds are copied to it in smaller ones, which caches hold."""
_FEWEST_STAGED = 1 << 16
"""Values of a matrix from which on the device rounds them: fewer are not worth a kernel's build."""


class RowSource(Protocol):
    """A host tensor that gives its rows piece by piece, as checkpoints do."""

    @property
    def name(self) -> str:
        """What error messages call it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions; rows run along the first."""

    def read_rows(self, start: int, stop: int) -> NDArray[np.generic]:
        """Rows [start, stop), float16 or float32."""

    def release(self) -> None:
        """Drop what reading brought into memory."""


@runtime_checkable
class DeviceMade(Protocol):
    """A tensor whose rows the device makes itself, so that the host never holds them."""

    def make_rows(self, start: int, rows_ND: DeviceArray) -> None:
        """Fill f16 [N, D] with the rows from `start` on."""


@runtime_checkable
class StoredSource(Protocol):
    """A tensor that also gives its rows as its file has them."""

    def stored_rows(self, start: int, stop: int) -> NDArray[np.generic]:
        """Rows [start, stop), float16, float32 or, as uint16, bfloat16's bits."""


@runtime_checkable
class BlockSource(Protocol):
    """A tensor that may be stored in the blocks of one of `cl_llama.blocks.FORMATS`."""

    @property
    def format(self) -> str:
        """The format's name; others' rows are values."""

    def read_blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) of blocks, uint8 [stop - start, bytes of a row]."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Consecutive rows of a matrix: row n at `offset + n * row_stride`.

    Both count elements of f16, or bytes of blocks. Where the blocks of several rows are interleaved
    (`Weight.lanes`), these rows together lie where they would lie one after the other.
    """

    buffer: "cl.Buffer"
    offset: int
    row_stride: int
    first_row: int
    rows: int


@dataclass(frozen=True, eq=False)
class Weight:
    """A matrix [N, D] of f16 or of blocks, in one buffer or split by rows over several.

    A device that allocates less at once than the matrix needs has it in several.

    Attributes:
        format: "f16" or a name of `cl_llama.blocks.FORMATS`.
        lanes: so many rows' blocks are interleaved as `block_layout.interleave` says; each
            segment begins with such a group, and its last group is whole. 1: row by row.
    """

    runtime: Runtime
    segments: tuple[Segment, ...]
    rows: int
    columns: int
    format: str = "f16"
    lanes: int = 1


def block_defines(weight: Weight, segment: Segment) -> dict[str, int | str]:
    """Build options of kernels that read a segment's weights by block_rows.cl."""
    if weight.format == "f16":
        return {}
    sizes = (segment.offset, segment.row_stride, FORMATS[weight.format].nbytes)
    return {"FORMAT": weight.format.upper(), "WORDS": int(all(n % 4 == 0 for n in sizes))}


def check_order(operation: str, weight: Weight, family: Family) -> None:
    """Raise ValueError where blocks lie in another order than a family's kernels read."""
    if weight.format != "f16" and weight.lanes != lanes_of(family):
        raise ValueError(
            f"{operation}: {weight.lanes} rows of {weight.format} are interleaved, "
            f"the {family} family needs {lanes_of(family)}"
        )


def upload_matrix(
    runtime: Runtime,
    source: RowSource,
    on_bytes: Callable[[int], None] | None = None,
    *,
    quantize: str | None = None,
    family: Family | None = None,
) -> Weight:
    """Copy a matrix [N, D] to the device, or have the device make it.

    Quantised blocks stay what they are, other values become f16, or blocks of the format `quantize`
    where rows are whole numbers of them. The order of blocks suits a family's kernels, None is the
    device's own. `on_bytes` is called with the number of bytes after each piece.

    Raises:
        CheckpointError: a value that f16 or the blocks cannot hold; names the tensor.
        DeviceMemoryError: a single row exceeds what the device allocates at once.
    """
    stored = _blocks_of(source, quantize)
    if stored is not None:
        return _upload_blocks(runtime, source, *stored, on_bytes, family or runtime.family)
    rows, columns = source.shape
    row_bytes = columns * 2
    if row_bytes > runtime.device.max_alloc_bytes:
        raise DeviceMemoryError(
            f"{source.name}: a row has {row_bytes:,} bytes, {runtime.device.label} allocates "
            f"at most {runtime.device.max_alloc_bytes:,} at once"
        )
    segment_rows = min(rows, runtime.device.max_alloc_bytes // row_bytes)
    piece_rows = max(1, _UPLOAD_BYTES // row_bytes)
    segments = []
    for first in range(0, rows, segment_rows):
        count = min(segment_rows, rows - first)
        buffer = runtime.allocate(count * row_bytes)
        if isinstance(source, DeviceMade):
            rows_ND = DeviceArray(runtime, buffer, (count, columns), np.dtype(np.float16))
            source.make_rows(first, rows_ND)
            runtime.finish()
            if on_bytes is not None:
                on_bytes(rows_ND.nbytes)
        elif not _round_on_device(runtime, source, buffer, first, count, on_bytes):
            for start in range(first, first + count, piece_rows):
                stop = min(start + piece_rows, first + count)
                piece = as_f16(source.name, source.read_rows(start, stop))
                runtime.write(buffer, piece, offset=(start - first) * row_bytes)
                if on_bytes is not None:
                    on_bytes(piece.nbytes)
        segments.append(Segment(buffer, 0, columns, first, count))
    source.release()
    return Weight(runtime, tuple(segments), rows, columns)


def _round_on_device(
    runtime: Runtime,
    source: RowSource,
    buffer: "cl.Buffer",
    first: int,
    count: int,
    on_bytes: Callable[[int], None] | None,
) -> bool:
    """Fill a buffer with rows [first, first + count) of wider values, which the device rounds.

    False where the host has to: they are f16 as it is, they are few, a row is too large to be
    copied as it is, or f16 cannot hold one, which the host can name.
    """
    columns = source.shape[1]
    if not isinstance(source, StoredSource) or count * columns < _FEWEST_STAGED:
        return False
    row = source.stored_rows(first, first + 1)
    if row.dtype == np.float16 or row.nbytes > runtime.device.max_alloc_bytes:
        return False
    step = max(1, min(_STAGED_BYTES, runtime.device.max_alloc_bytes) // row.nbytes)
    staged = runtime.empty((min(step, count), columns), row.dtype)
    too_large = runtime.from_numpy(np.zeros(1, np.uint32))
    halves = DeviceArray(runtime, buffer, (count, columns), np.dtype(np.float16))
    for start in range(0, count, step):
        rows = min(step, count - start)
        piece = source.stored_rows(first + start, first + start + rows)
        runtime.write(staged.buffer, piece)
        to_half(staged.view(rows, columns), halves, start * columns, too_large)
        if on_bytes is not None:
            on_bytes(rows * columns * 2)
    return not too_large.numpy()[0]


def _blocks_of(
    source: RowSource, to: str | None
) -> tuple[str, Callable[[int, int], NDArray[np.uint8]]] | None:
    """The format in which a matrix is uploaded, and what gives its rows; None: as f16."""
    if isinstance(source, BlockSource) and source.format in FORMATS:
        return source.format, source.read_blocks
    if to is None or source.shape[1] % FORMATS[to].elements:
        return None

    def quantized(start: int, stop: int) -> NDArray[np.uint8]:
        try:
            return blocks.quantize(to, source.read_rows(start, stop))
        except ValueError as error:
            raise CheckpointError(f"{source.name}: {error}") from error

    return to, quantized


def _upload_blocks(
    runtime: Runtime,
    source: RowSource,
    format: str,
    read: Callable[[int, int], NDArray[np.uint8]],
    on_bytes: Callable[[int], None] | None,
    family: Family,
) -> Weight:
    rows, columns = source.shape
    row_bytes = FORMATS[format].row_bytes(columns)
    lanes = lanes_of(family)
    limit = runtime.device.max_alloc_bytes // (lanes * row_bytes) * lanes
    if limit == 0:
        raise DeviceMemoryError(
            f"{source.name}: {lanes} rows have {lanes * row_bytes:,} bytes, "
            f"{runtime.device.label} allocates at most {runtime.device.max_alloc_bytes:,} at once"
        )
    piece_rows = max(lanes, _UPLOAD_BYTES // row_bytes // lanes * lanes)
    segments = []
    for first in range(0, rows, limit):
        count = min(limit, rows - first)
        buffer = runtime.allocate(ceil_div(count, lanes) * lanes * row_bytes)
        for start in range(first, first + count, piece_rows):
            piece = read(start, min(start + piece_rows, first + count))
            if lanes > 1:
                piece = interleave(format, piece)
            piece = np.ascontiguousarray(piece)
            runtime.write(buffer, piece, offset=(start - first) * row_bytes)
            if on_bytes is not None:
                on_bytes(piece.nbytes)
        segments.append(Segment(buffer, 0, row_bytes, first, count))
    source.release()
    return Weight(runtime, tuple(segments), rows, columns, format, lanes)


def upload_vector(runtime: Runtime, source: RowSource) -> DeviceArray:
    """Copy a vector [D], a norm or a bias, to the device as f32."""
    vector = source.read_rows(0, source.shape[0]).astype(np.float32)
    if not np.isfinite(vector).all():
        raise CheckpointError(f"{source.name}: holds a value that is not finite; damaged file?")
    source.release()
    return runtime.from_numpy(vector)


def as_f16(name: str, values: NDArray[np.generic]) -> NDArray[np.float16]:
    """Values rounded to f16, contiguous; f16 passes through unchanged.

    Raises:
        CheckpointError: a value beyond f16's range (65,504), or not finite.
    """
    if values.dtype == np.float16:
        return np.ascontiguousarray(values, dtype=np.float16)
    largest = float(np.max(np.abs(values), initial=0.0))
    if not largest < 65520.0:  # what rounds to infinity; NaN fails too
        raise CheckpointError(
            f"{name}: holds {largest:g}, f16 ends at 65504; this model's weights need a wider type"
        )
    return values.astype(np.float16)
