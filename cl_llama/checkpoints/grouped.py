"""Matrices of int8 values in groups with a float32 scale each, as llama2.c has them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import FORMATS, dequantize
from cl_llama.blocks.layouts import LAYOUTS
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import HostTensor, Rows
from cl_llama.errors import CheckpointError

_BLOCK = FORMATS["q8_0"].elements


@dataclass(frozen=True)
class GroupedMatrix(HostTensor):
    """A matrix [N, D] of q * scale: all q, int8, then the scales of `group` values each, float32.

    Groups run through the whole matrix, so that one may reach into the next row. Where rows and
    groups are whole numbers of q8_0's blocks of 32, the format is "q8_0": the values q stay as
    they are, each group's scale is rounded to float16 and stands in all of its blocks. This moves
    a value by no more than rounding it to float16 would, as long as the scale is a normal number
    there (above 6e-5), which is GGUF's own limit. Other matrices are "f32".
    """

    file: MappedFile
    offset: int
    """Byte offset of the first q."""
    group: int

    @property
    def nbytes(self) -> int:
        """Bytes that values and scales take in the file."""
        return grouped_bytes(math.prod(self.shape), self.group)

    def read_blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop) as blocks of q8_0, uint8 [stop - start, row bytes].

        Raises ValueError for a matrix that is "f32", CheckpointError as `read_rows`: also for a
        scale that float16 cannot hold.
        """
        if self.format != "q8_0":
            return super().read_blocks(start, stop)
        self._check_rows(start, stop)
        columns = self.shape[1]
        first, count = start * columns // _BLOCK, (stop - start) * columns // _BLOCK
        blocks = np.empty(count, LAYOUTS["q8_0"])
        blocks["q"] = self._q(start * columns, count * _BLOCK).reshape(count, _BLOCK)
        groups = np.arange(first, first + count) // (self.group // _BLOCK)
        blocks["d"] = self._scales(groups)
        return blocks.view(np.uint8).reshape(stop - start, FORMATS["q8_0"].row_bytes(columns))

    def _read_rows(self, start: int, stop: int) -> Rows:
        if self.format == "q8_0":
            return dequantize("q8_0", self.read_blocks(start, stop))
        columns = self.shape[1]
        first, count = start * columns, (stop - start) * columns
        scales = self._scales(np.arange(first, first + count) // self.group)
        values: NDArray[np.float32] = self._q(first, count) * scales
        return values.reshape(stop - start, columns)

    def _q(self, first: int, count: int) -> NDArray[np.int8]:
        return self.file.array(self.offset + first, (count,), np.dtype(np.int8))

    def _scales(self, groups: NDArray[np.int64]) -> NDArray[np.float32]:
        """Those of consecutive groups, of which some stand there several times."""
        if not len(groups):
            return np.empty(0, np.float32)
        place = self.offset + math.prod(self.shape) + 4 * int(groups[0])
        stored = self.file.array(place, (int(groups[-1] - groups[0]) + 1,), np.dtype("<f4"))
        largest = float(np.abs(stored).max())
        if not largest < 65520.0:  # what rounds to infinity; NaN fails, too
            raise CheckpointError(
                f"{self.file.path}: {self.name} has a scale of {largest:g}, float16 ends at 65504;"
                " damaged file?"
            )
        scales: NDArray[np.float32] = stored.astype(np.float32)[groups - groups[0]]
        return scales

    def release(self) -> None:
        """Drop the matrix's mapped pages from resident memory; a later read brings them back."""
        self.file.release(self.offset, self.nbytes)


def grouped_matrix(
    name: str, shape: tuple[int, ...], file: MappedFile, offset: int, group: int
) -> GroupedMatrix:
    """The matrix whose values begin at byte `offset`, in the format that its groups allow."""
    in_blocks = shape[1] % _BLOCK == 0 and group % _BLOCK == 0
    return GroupedMatrix(name, shape, "q8_0" if in_blocks else "f32", file, offset, group)


def grouped_bytes(count: int, group: int) -> int:
    """Bytes of `count` values with their scales."""
    return count + 4 * (count // group)
