"""The safetensors format: an 8-byte length, a JSON header, then the tensors' bytes in one block.

The format's definition: https://huggingface.co/docs/safetensors/index#format
"""

import math
import struct
from typing import Any, TypeGuard

from cl_llama.checkpoints.json_object import parse_json_object
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import ITEM_BYTES, MappedTensor
from cl_llama.errors import CheckpointError

_DTYPES = {"F16": "f16", "BF16": "bf16", "F32": "f32", "U8": "u8", "BOOL": "u8"}
_MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
_MAX_DIMENSIONS = 32


def read_safetensors(file: MappedFile) -> dict[str, MappedTensor]:
    """The tensors of one safetensors file by name, without reading their values.

    Raises CheckpointError for a damaged or truncated file and for dtypes other than F16, BF16 and
    F32.
    """
    if file.size < 8:
        raise CheckpointError(f"{file.path}: {file.size} bytes are too few for safetensors")
    (header_bytes,) = struct.unpack("<Q", file.read(0, 8))
    if header_bytes > min(_MAX_HEADER_BYTES, file.size - 8):
        raise CheckpointError(
            f"{file.path}: its header claims {header_bytes} bytes, the file has {file.size};"
            " it is truncated or no safetensors file"
        )
    header = parse_json_object(file.read(8, header_bytes), f"{file.path}: header")
    header.pop("__metadata__", None)
    data_start = 8 + header_bytes
    tensors = {name: _tensor(file, name, entry, data_start) for name, entry in header.items()}
    _check_layout(file, list(tensors.values()), data_start)
    return tensors


def _tensor(file: MappedFile, name: str, entry: Any, data_start: int) -> MappedTensor:
    where = f"{file.path}: tensor {name[:200]!r}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where}: expected dtype, shape and data_offsets, got {entry!r:.80}")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise CheckpointError(
            f"{where} has dtype {dtype!r:.40}; supported are F16, BF16 and F32"
            " (quantised safetensors are not)"
        )
    if not _are_sizes(shape) or len(shape) > _MAX_DIMENSIONS:
        raise CheckpointError(f"{where}: {shape!r:.80} is not a shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{where}: data_offsets are {offsets!r:.80}, expected two offsets")
    start, stop = offsets
    needed = math.prod(shape) * ITEM_BYTES[_DTYPES[dtype]]
    if stop - start != needed:
        raise CheckpointError(
            f"{where}: shape {shape!r:.80} of {dtype} needs {needed} bytes, its offsets span"
            f" {stop - start}"
        )
    if data_start + stop > file.size:
        raise CheckpointError(
            f"{where} ends at byte {data_start + stop}, the file has {file.size}; it is truncated:"
            " copy or download it again"
        )
    return MappedTensor(name, tuple(shape), _DTYPES[dtype], file, data_start + start)


def _are_sizes(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def _check_layout(file: MappedFile, tensors: list[MappedTensor], data_start: int) -> None:
    """The format's rule: tensors neither overlap nor leave a byte of the file out."""
    end = data_start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != end:
            problem = "overlaps the one before it" if tensor.offset < end else "follows a gap"
            raise CheckpointError(
                f"{file.path}: tensor {tensor.name[:200]!r} at byte {tensor.offset} {problem},"
                f" expected it at {end}"
            )
        end += tensor.nbytes
    if end != file.size:
        raise CheckpointError(
            f"{file.path}: its tensors end at byte {end}, the file has {file.size}; it is damaged"
        )
