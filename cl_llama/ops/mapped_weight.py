"""Weight matrices computed with where they lie in host memory, as CPU devices can."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import Runtime
from cl_llama.ops.weight import Segment

ALIGNMENT = 4096
"""Buffers begin at multiples of so many bytes; a page, though drivers are content with less."""


@dataclass(frozen=True)
class RowsInPlace:
    """f16 rows [rows, columns], one after another from byte `offset` of some memory.

    `first_row` is the place of the first one in its matrix.
    """

    offset: int
    first_row: int
    rows: int
    columns: int

    @property
    def stop(self) -> int:
        """The byte after the last one."""
        return self.offset + self.rows * self.columns * 2


def map_rows(
    runtime: Runtime, memory: NDArray[np.uint8], pieces: Sequence[RowsInPlace]
) -> list[list[Segment]]:
    """The segments of each piece, in read-only buffers over the memory; nothing is copied.

    There are as few buffers as the device's largest allocation permits; pieces that exceed it are
    split by rows. The memory begins at a page.

    Raises:
        ValueError: the device cannot allocate even one row and the bytes before it in its page.
        DeviceError: the driver refuses the memory.
    """
    limit = runtime.device.max_alloc_bytes
    parts: list[tuple[int, RowsInPlace]] = []
    for index, piece in enumerate(pieces):
        most = (limit - ALIGNMENT) // (piece.columns * 2)
        if most < 1:
            raise ValueError(f"map_rows: {piece.columns} f16 values exceed {limit} bytes")
        for row in range(0, piece.rows, most):
            offset = piece.offset + row * piece.columns * 2
            rows = min(most, piece.rows - row)
            parts.append((index, RowsInPlace(offset, piece.first_row + row, rows, piece.columns)))
    parts.sort(key=lambda part: part[1].offset)
    segments: list[list[Segment]] = [[] for _ in pieces]
    while parts:
        start = parts[0][1].offset // ALIGNMENT * ALIGNMENT
        together = 1
        while together < len(parts) and parts[together][1].stop - start <= limit:
            together += 1
        stop = max(part.stop for _, part in parts[:together])
        buffer = runtime.map_host(memory[start:stop])
        for index, part in parts[:together]:
            segments[index].append(
                Segment(buffer, (part.offset - start) // 2, part.columns, part.first_row, part.rows)
            )
        del parts[:together]
    return segments
