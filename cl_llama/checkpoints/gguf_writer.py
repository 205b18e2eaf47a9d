"""Writes GGUF files of version 3, a piece of a tensor at a time.

The head is the magic, the version, the counts of tensors and of metadata entries, the entries, and
for each tensor its name, sizes (the fastest first), type and offset from the data. The data begins
at a multiple of 32 bytes, and so does every tensor in it. The format's definition:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import GGUF_TYPES

ALIGNMENT = 32

Value = bool | int | float | str | Sequence[str] | NDArray[Any]
"""Of a metadata entry: int is written as uint32, float as float32, an array as its own dtype."""

_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 6, 7, 8, 9
_ARRAY_TYPES = {np.dtype("<i4"): 5, np.dtype("<u4"): _UINT32, np.dtype("<f4"): _FLOAT32}
_TYPE_NUMBERS = {name: number for number, name in GGUF_TYPES.items()}


@dataclass(frozen=True)
class GgufTensor:
    """A tensor to write: `pieces` gives its bytes in order, `nbytes` of them in all."""

    name: str
    shape: tuple[int, ...]
    """Rows first."""
    format: str
    nbytes: int
    pieces: Callable[[], Iterator[NDArray[Any]]]


def write_gguf(
    file: BinaryIO,
    metadata: Mapping[str, Value],
    tensors: Sequence[GgufTensor],
    on_bytes: Callable[[int], None] | None = None,
) -> None:
    """Write a whole file; `on_bytes` is called with the length of each piece of a tensor.

    Raises ValueError for a tensor whose pieces have another length than it says, and for a number
    that the file has no place for.
    """
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        head += (_text(key), _value(key, value))
    offset = 0
    for tensor in tensors:
        sizes = tensor.shape[::-1]
        head.append(_text(tensor.name))
        head.append(struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
        head.append(struct.pack("<IQ", _TYPE_NUMBERS[tensor.format], offset))
        offset += tensor.nbytes + _padding(tensor.nbytes)
    start = sum(map(len, head))
    file.write(b"".join(head) + bytes(_padding(start)))
    for tensor in tensors:
        written = 0
        for piece in tensor.pieces():
            file.write(np.ascontiguousarray(piece).data)
            written += piece.nbytes
            if on_bytes is not None:
                on_bytes(piece.nbytes)
        if written != tensor.nbytes:
            raise ValueError(f"{tensor.name}: {written} bytes were made, expected {tensor.nbytes}")
        file.write(bytes(_padding(written)))


def _padding(length: int) -> int:
    return -length % ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Value) -> bytes:
    """The type's number, then the value."""
    match value:
        case bool():
            return struct.pack("<IB", _BOOL, value)
        case int():
            if not 0 <= value < 2**32:
                raise ValueError(f"{key}: {value} does not fit 32 bits")
            return struct.pack("<II", _UINT32, value)
        case float():
            return struct.pack("<If", _FLOAT32, value)
        case str():
            return struct.pack("<I", _STRING) + _text(value)
        case np.ndarray():
            kind = _ARRAY_TYPES[value.dtype]
            return struct.pack("<IIQ", _ARRAY, kind, len(value)) + value.tobytes()
    head = struct.pack("<IIQ", _ARRAY, _STRING, len(value))
    return head + b"".join(_text(text) for text in value)
