"""Named tensors on the host, read from mapped files a range of rows at a time."""

import itertools
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import FORMATS, dequantize
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.errors import CheckpointError

ITEM_BYTES = {"f16": 2, "bf16": 2, "f32": 4, "u8": 1}
"""Bytes of one value in the formats that store each value by itself."""

_STORED: dict[str, np.dtype[Any]] = {
    "f16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),
    "f32": np.dtype("<f4"),
}

Rows = NDArray[np.float16] | NDArray[np.float32]
StoredRows = Rows | NDArray[np.uint16]
"""Values as files hold them; uint16 are bfloat16's bits."""


def stored_bytes(form: str, count: int) -> int:
    """Bytes of `count` values in a format; whole blocks where it has blocks."""
    if form in ITEM_BYTES:
        return count * ITEM_BYTES[form]
    return FORMATS[form].row_bytes(count)


@dataclass(frozen=True)
class FileRows:
    """Consecutive rows of a matrix as a mapped file holds them: float16, one after another."""

    file: MappedFile
    offset: int
    """Byte offset of the first value, an even number."""
    rows: int


@dataclass(frozen=True)
class HostTensor(ABC):
    """A tensor of a checkpoint: its name and shape are known, its values are read on demand."""

    name: str
    shape: tuple[int, ...]
    format: str
    """How the file stores the values: "f16", "bf16", "f32", or a name of `blocks.FORMATS`.

    "u8" is a mask, which is no weight.
    """

    @property
    def nbytes(self) -> int:
        """Bytes the values take in the file."""
        return stored_bytes(self.format, math.prod(self.shape))

    def read_rows(self, start: int, stop: int) -> Rows:
        """Rows [start, stop) of the first dimension, C-contiguous, shape [stop - start, ...].

        float16 for "f16"; float32 for "f32", widened exactly for "bf16", and dequantised for
        blocks. The array may be a read-only view of the mapped file: keep it only until `release`.
        A scalar has one row.

        Raises IndexError for rows that do not exist and CheckpointError after the checkpoint was
        closed.
        """
        self._check_rows(start, stop)
        return self._read_rows(start, stop)

    def read_blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as the file's blocks, a read-only view [stop - start, row bytes].

        Raises ValueError for a tensor whose format has no blocks, else as `read_rows`.
        """
        raise ValueError(f"{self.name}: {self.format} has no blocks to read")

    def _check_rows(self, start: int, stop: int) -> None:
        rows = self.shape[0] if self.shape else 1
        if not 0 <= start <= stop <= rows:
            raise IndexError(f"{self.name}: rows {start} to {stop} of {rows}")

    def file_rows(self) -> tuple[FileRows, ...]:
        """Where files hold all rows of a matrix as float16 that can be computed with in place.

        In order; empty where the values have to be converted, gathered or moved to even addresses.
        """
        return ()

    def stored_rows(self, start: int, stop: int) -> StoredRows:
        """What `read_rows` gives, but the bits of "bf16" as uint16: for those who widen them."""
        return self.read_rows(start, stop)

    @abstractmethod
    def _read_rows(self, start: int, stop: int) -> Rows:
        """`read_rows` for a valid range."""

    @abstractmethod
    def release(self) -> None:
        """Drop the tensor's mapped pages from resident memory; a later read brings them back."""


@dataclass(frozen=True)
class MappedTensor(HostTensor):
    """A tensor whose values lie in one piece in one file, row after row, little-endian."""

    file: MappedFile
    offset: int
    """Byte offset of the first value."""

    def file_rows(self) -> tuple[FileRows, ...]:
        """All rows together, if they are float16 at an even offset of a file that stays mapped."""
        in_place = self.format == "f16" and self.offset % 2 == 0 and len(self.shape) == 2
        if not in_place or self.file.transient or sys.byteorder != "little":
            return ()
        return (FileRows(self.file, self.offset, self.shape[0]),)

    def read_blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as the file's blocks, a read-only view [stop - start, row bytes].

        Raises ValueError for a tensor whose format has no blocks, else as `read_rows`.
        """
        if self.format not in FORMATS:
            return super().read_blocks(start, stop)
        self._check_rows(start, stop)
        row_bytes = stored_bytes(self.format, math.prod(self.shape[1:]))
        place = self.offset + start * row_bytes
        return self.file.array(place, (stop - start, row_bytes), np.dtype(np.uint8))

    def stored_rows(self, start: int, stop: int) -> StoredRows:
        """What `read_rows` gives, but the bits of "bf16" as uint16: for those who widen them."""
        if self.format != "bf16":
            return self.read_rows(start, stop)
        self._check_rows(start, stop)
        shape = (stop - start, *self.shape[1:])
        place = self.offset + start * math.prod(self.shape[1:]) * ITEM_BYTES["bf16"]
        return self.file.array(place, shape, _STORED["bf16"])

    def _read_rows(self, start: int, stop: int) -> Rows:
        if self.format == "u8":
            raise CheckpointError(
                f"{self.file.path}: tensor {self.name[:200]!r} holds bytes; expected F16, BF16 or"
                " F32 (quantised checkpoints are not supported)"
            )
        shape = (stop - start, *self.shape[1:])
        if self.format in FORMATS:
            return dequantize(self.format, self.read_blocks(start, stop)).reshape(shape)
        row_bytes = stored_bytes(self.format, math.prod(self.shape[1:]))
        stored = self.file.array(self.offset + start * row_bytes, shape, _STORED[self.format])
        if self.format == "bf16":  # the upper half of a float32
            widened = stored.astype(np.uint32)
            np.left_shift(widened, 16, out=widened)
            return widened.view(np.float32)
        return stored if stored.flags.aligned else stored.copy()

    def release(self) -> None:
        """Drop the tensor's mapped pages from resident memory; a later read brings them back."""
        self.file.release(self.offset, self.nbytes)


@dataclass(frozen=True)
class ShardedTensor(HostTensor):
    """A tensor split over several files along `axis` (0 or 1), in the order of `parts`."""

    parts: tuple[HostTensor, ...]
    axis: int

    def file_rows(self) -> tuple[FileRows, ...]:
        """The parts' rows, if the matrix is split by rows and each part can be used in place."""
        parts = [part.file_rows() for part in self.parts]
        return tuple(itertools.chain(*parts)) if self.axis == 0 and all(parts) else ()

    def stored_rows(self, start: int, stop: int) -> StoredRows:
        """What `read_rows` gives, but the bits of "bf16" as uint16: for those who widen them."""
        self._check_rows(start, stop)
        return self._joined(start, stop, lambda part, a, b: part.stored_rows(a, b))

    def _read_rows(self, start: int, stop: int) -> Rows:
        return self._joined(start, stop, lambda part, a, b: part.read_rows(a, b))

    def _joined(
        self, start: int, stop: int, read: Callable[[HostTensor, int, int], NDArray[Any]]
    ) -> NDArray[Any]:
        if self.axis == 1:
            return np.concatenate([read(part, start, stop) for part in self.parts], axis=1)
        pieces = []
        first = 0
        for part in self.parts:
            end = first + part.shape[0]
            if start < end and first < stop:
                pieces.append(read(part, max(start, first) - first, min(stop, end) - first))
            first = end
        if not pieces:
            return read(self.parts[0], 0, 0)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def release(self) -> None:
        """Drop the tensor's mapped pages from resident memory; a later read brings them back."""
        for part in self.parts:
            part.release()


def join_shards(name: str, parts: Sequence[HostTensor], axis: int) -> HostTensor:
    """One tensor of `parts` laid end to end along `axis`; the parts agree in all other sizes."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return ShardedTensor(name, tuple(shape), parts[0].format, tuple(parts), axis)
