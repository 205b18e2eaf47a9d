"""Matrices that a CPU device computes with where their files hold them."""

from collections.abc import Callable, Iterable

from cl_llama import ops
from cl_llama.checkpoints import HostTensor
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.opencl.runtime import Runtime

_PIECE_BYTES = 16 << 20
"""Files are read in pieces of about this size, between which progress is told."""


class MappedMatrices:
    """The matrices of a checkpoint that need no copy, by name.

    A model made of them reads their files as long as it lives: cut short in the meantime, they end
    the process; replaced by others, as downloads and editors do, they stay what they were.

    Args:
        runtime: a device that computes in the host's memory.
        tensors: all matrices [N, D]; those that files hold as float16 are taken.
    """

    def __init__(self, runtime: Runtime, tensors: Iterable[HostTensor]) -> None:
        self.weights: dict[str, ops.Weight] = {}
        self._pieces: dict[MappedFile, list[ops.RowsInPlace]] = {}
        owners: dict[MappedFile, list[HostTensor]] = {}
        matrices = {tensor.name: tensor for tensor in tensors}
        for tensor in matrices.values():
            # A row larger than an allocation is told of where it is copied.
            if 2 * tensor.shape[1] + ops.ALIGNMENT > runtime.device.max_alloc_bytes:
                continue
            first_row = 0
            for rows in tensor.file_rows():
                piece = ops.RowsInPlace(rows.offset, first_row, rows.rows, tensor.shape[1])
                self._pieces.setdefault(rows.file, []).append(piece)
                owners.setdefault(rows.file, []).append(tensor)
                first_row += rows.rows
        segments: dict[str, list[ops.Segment]] = {}
        for file, pieces in self._pieces.items():
            mapped = ops.map_rows(runtime, file.memory(), pieces)
            for tensor, parts in zip(owners[file], mapped, strict=True):
                segments.setdefault(tensor.name, []).extend(parts)
        for name, parts in segments.items():
            parts.sort(key=lambda part: part.first_row)
            N, D = matrices[name].shape
            self.weights[name] = ops.Weight(runtime, tuple(parts), N, D)

    def populate(self, on_bytes: Callable[[int], None]) -> None:
        """Bring all of them into memory in the files' order, so that the first step is no slower.

        `on_bytes` is called with the number of bytes after each piece.

        Raises:
            CheckpointError: a file cannot be read.
        """
        for file, pieces in self._pieces.items():
            for piece in sorted(pieces, key=lambda piece: piece.offset):
                for start in range(piece.offset, piece.stop, _PIECE_BYTES):
                    length = min(_PIECE_BYTES, piece.stop - start)
                    file.populate(start, length)
                    on_bytes(length)
