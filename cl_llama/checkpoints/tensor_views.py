"""Other arrangements of a tensor's values, read piece by piece as the tensor itself is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints.tensor import FileRows, HostTensor, Rows

_PIECE = 64
"""Rows that are transposed at once: what is written of a row fills whole cache lines."""


@dataclass(frozen=True)
class RowRange(HostTensor):
    """Consecutive rows of another tensor, `first` its first one; of a vector, its elements."""

    source: HostTensor
    first: int

    def file_rows(self) -> tuple[FileRows, ...]:
        """The source's that are in the range."""
        found = []
        start, end = self.first, self.first + self.shape[0]
        row_bytes = 2 * math.prod(self.shape[1:])
        place = 0
        for rows in self.source.file_rows():
            begin, stop = max(start, place), min(end, place + rows.rows)
            if begin < stop:
                offset = rows.offset + (begin - place) * row_bytes
                found.append(FileRows(rows.file, offset, stop - begin))
            place += rows.rows
        return tuple(found)

    def read_blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The source's blocks of rows [start, stop) of the range."""
        self._check_rows(start, stop)
        return self.source.read_blocks(self.first + start, self.first + stop)

    def _read_rows(self, start: int, stop: int) -> Rows:
        return self.source.read_rows(self.first + start, self.first + stop)

    def release(self) -> None:
        """Drop the source's mapped pages from resident memory."""
        self.source.release()


@dataclass(frozen=True)
class Transposed(HostTensor):
    """A matrix [N, D] whose transpose [D, N] the checkpoint holds."""

    source: HostTensor

    def _read_rows(self, start: int, stop: int) -> Rows:
        columns = self.shape[1]
        dtype: Any = self.source.read_rows(0, 0).dtype
        rows: Rows = np.empty((stop - start, columns), dtype)
        for first in range(0, columns, _PIECE):
            piece = self.source.read_rows(first, min(first + _PIECE, columns))
            rows[:, first : first + _PIECE] = piece[:, start:stop].T
        return rows

    def release(self) -> None:
        """Drop the source's mapped pages from resident memory."""
        self.source.release()


@dataclass(frozen=True)
class Stacked(HostTensor):
    """Tensors with their rows one below the other."""

    sources: tuple[HostTensor, ...]

    def _read_rows(self, start: int, stop: int) -> Rows:
        found: list[Any] = []
        first = 0
        for source in self.sources:
            begin, end = max(start - first, 0), min(stop - first, source.shape[0])
            if begin < end:
                found.append(source.read_rows(begin, end))
            first += source.shape[0]
        rows: Rows = np.concatenate(found)
        return rows

    def release(self) -> None:
        """Drop the sources' mapped pages from resident memory."""
        for source in self.sources:
            source.release()


def stacked(sources: Sequence[HostTensor], part: str) -> Stacked:
    """Rows of several tensors as one's; `part` is what error messages call it."""
    first = sources[0]
    rows = sum(source.shape[0] for source in sources)
    name = f"{first.name} ... ({part})"
    return Stacked(name, (rows, *first.shape[1:]), first.format, tuple(sources))


def row_range(source: HostTensor, first: int, rows: int, part: str) -> RowRange:
    """Rows [first, first + rows) of a tensor; `part` is what error messages call them."""
    shape = (rows, *source.shape[1:])
    return RowRange(f"{source.name} ({part})", shape, source.format, source, first)


def transposed(source: HostTensor) -> Transposed:
    """A matrix's transpose."""
    rows, columns = source.shape
    return Transposed(source.name, (columns, rows), source.format, source)
