"""The head of a GGUF file: its metadata and where its tensors lie; versions 2 and 3.

Numbers are little-endian; a string is a 64-bit length and UTF-8 text. The head is the magic, the
version, the counts of tensors and of metadata entries, these entries (a key, a type, a value), and
for each tensor its name, sizes (the fastest first), type and offset from the data, which begins
at the next multiple of `general.alignment`. The format's definition:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.errors import CheckpointError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MOST_DIMENSIONS = 4
_LEAST_ENTRY_BYTES = 8 + 4 + 1
_LEAST_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8

# Types of metadata values by number.
_NUMBERS: dict[int, np.dtype[Any]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_BOOL, _STRING, _ARRAY = 7, 8, 9

_WINDOW_BYTES = 1 << 20
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True, repr=False)
class GgufArray:
    """An array among the metadata; its values are read when they are asked for."""

    file: MappedFile
    key: str
    offset: int
    count: int
    dtype: np.dtype[Any] | None
    """Of numbers and truth values; None for strings."""
    ends: NDArray[np.int64] | None
    """Of strings: the byte after each."""

    def __repr__(self) -> str:
        """What an error about a key shows of it."""
        return f"an array of {self.count} {'strings' if self.dtype is None else self.dtype}"

    def numbers(self) -> NDArray[Any]:
        """The values [count]; CheckpointError where they are strings."""
        if self.dtype is None:
            raise CheckpointError(f"{self.file.path}: {self.key} holds strings, expected numbers")
        data = self.file.read(self.offset, self.count * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype)

    def strings(self) -> list[str]:
        """The texts; CheckpointError where they are numbers, or no UTF-8."""
        if self.ends is None:
            raise CheckpointError(f"{self.file.path}: {self.key} holds numbers, expected strings")
        bounds = [0, *(self.ends - self.offset).tolist()]
        data = self.file.read(self.offset, bounds[-1])
        try:
            return [data[start + 8 : end].decode() for start, end in pairwise(bounds)]
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{self.file.path}: a string of {self.key} is not UTF-8; the file is damaged"
            ) from None


@dataclass(frozen=True)
class TensorEntry:
    """A tensor as the head describes it."""

    name: str
    shape: tuple[int, ...]
    """Rows first, the sizes in the file reversed."""
    type: int
    """The number of its format."""
    offset: int
    """Bytes from the first tensor's place."""


@dataclass(frozen=True)
class GgufHeader:
    """What stands before the tensors' values."""

    metadata: Mapping[str, Any]
    """Numbers, truth values, texts and `GgufArray`s by key."""
    tensors: tuple[TensorEntry, ...]
    data_start: int
    alignment: int


def read_gguf_header(file: MappedFile) -> GgufHeader:
    """Read the head of a GGUF file; no tensor's values are touched.

    Raises CheckpointError for anything that is not a whole, little-endian head of version 2 or 3.
    """
    if file.size < 24 or file.read(0, 4) != MAGIC:
        raise CheckpointError(
            f"{file.path}: expected a GGUF file; this one is something else, or cut off after"
            f" {file.size} bytes"
        )
    version, tensor_count, entry_count = struct.unpack("<IQQ", file.read(4, 20))
    if version & 0xFFFF == 0 and version:
        raise CheckpointError(f"{file.path}: a big-endian GGUF file; only little-endian is read")
    if version not in _VERSIONS:
        raise CheckpointError(
            f"{file.path}: GGUF version {version} is not supported; versions 2 and 3 are"
        )
    for count, least, what in (
        (tensor_count, _LEAST_TENSOR_BYTES, "tensors"),
        (entry_count, _LEAST_ENTRY_BYTES, "metadata entries"),
    ):
        if count * least > file.size:
            raise CheckpointError(
                f"{file.path}: it claims {count} {what}, too many for its {file.size} bytes; it is"
                " truncated or damaged"
            )
    reader = _Reader(file)
    metadata = reader.metadata(entry_count)
    tensors = reader.tensors(tensor_count)
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= 2**20 or alignment % 8:
        raise CheckpointError(
            f"{file.path}: general.alignment is {alignment!r:.80}, expected a multiple of 8"
        )
    data_start = -(-reader.position // alignment) * alignment
    return GgufHeader(metadata, tensors, data_start, alignment)


class _Reader:
    """Reads one thing after another from behind the counts on."""

    def __init__(self, file: MappedFile) -> None:
        self.position = 24
        self._file = file

    def metadata(self, count: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for _ in range(count):
            key = self._text("a metadata key")
            if key in entries:
                raise CheckpointError(f"{self._file.path}: {key[:200]!r} stands there twice")
            entries[key] = self._value(key, self._number("<I"))
        return entries

    def tensors(self, count: int) -> tuple[TensorEntry, ...]:
        return tuple(self._tensor() for _ in range(count))

    def _tensor(self) -> TensorEntry:
        name = self._text("a tensor's name")
        dimensions = self._number("<I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise CheckpointError(
                f"{self._file.path}: tensor {name[:200]!r} has {dimensions} dimensions, expected 1"
                f" to {_MOST_DIMENSIONS}; the file is damaged"
            )
        sizes = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
        if 0 in sizes:
            raise CheckpointError(f"{self._file.path}: tensor {name[:200]!r} is empty: {sizes}")
        return TensorEntry(name, sizes[::-1], self._number("<I"), self._number("<Q"))

    def _value(self, key: str, kind: int) -> Any:
        if kind in _NUMBERS:
            dtype = _NUMBERS[kind]
            return np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()
        if kind == _BOOL:
            value = self._take(1)[0]
            if value > 1:
                raise CheckpointError(
                    f"{self._file.path}: {key[:200]!r} is {value}, expected 0 or 1 for a truth"
                    " value; the file is damaged"
                )
            return bool(value)
        if kind == _STRING:
            return self._text(key)
        if kind == _ARRAY:
            return self._array(key, self._number("<I"), self._number("<Q"))
        raise self._unknown_type(key, kind)

    def _array(self, key: str, kind: int, count: int) -> GgufArray:
        start = self.position
        dtype = np.dtype(np.bool_) if kind == _BOOL else _NUMBERS.get(kind)
        if dtype is None and kind != _STRING:
            raise self._unknown_type(key, kind)
        least = 8 if dtype is None else dtype.itemsize
        if count * least > self._file.size - start:
            raise CheckpointError(
                f"{self._file.path}: {key[:200]!r} claims {count} values, the file has"
                f" {self._file.size - start} bytes more; it is truncated or damaged"
            )
        if dtype is not None:
            self.position += count * dtype.itemsize
            return GgufArray(self._file, key, start, count, dtype, None)
        ends = self._string_ends(key, count)
        self.position = int(ends[-1]) if count else start
        return GgufArray(self._file, key, start, count, None, ends)

    def _string_ends(self, key: str, count: int) -> NDArray[np.int64]:
        """The byte after each of `count` strings; vocabularies have hundreds of thousands."""
        ends: list[int] = []
        base = self.position
        while len(ends) < count:
            window = self._file.read(base, min(_WINDOW_BYTES, self._file.size - base))
            at, last = 0, len(window) - 8
            unpack, found = _LENGTH.unpack_from, len(ends)
            while at <= last and len(ends) < count:
                end = at + 8 + unpack(window, at)[0]
                if end > len(window):
                    break
                ends.append(base + end)
                at = end
            if len(ends) == found:  # a string that no window holds
                (length,) = _LENGTH.unpack(self._file.read(base, 8))
                self._check_length(key, base, length)
                at = 8 + length
                ends.append(base + at)
            base += at
        return np.array(ends, np.int64)

    def _text(self, what: str) -> str:
        length = self._number("<Q")
        self._check_length(what, self.position - 8, length)
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{self._file.path}: {what[:200]} is not UTF-8; the file is damaged"
            ) from None

    def _check_length(self, what: str, start: int, length: int) -> None:
        if start + 8 + length > self._file.size:
            raise CheckpointError(
                f"{self._file.path}: {what[:200]} claims {length} bytes of text, the file ends at"
                f" {self._file.size}; it is truncated or damaged"
            )

    def _unknown_type(self, key: str, kind: int) -> CheckpointError:
        return CheckpointError(
            f"{self._file.path}: {key[:200]!r} has values of type {kind}, which GGUF does not know"
            " there; the file is damaged or newer than this reader"
        )

    def _number(self, layout: str) -> int:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(value)

    def _take(self, count: int) -> bytes:
        taken = self._file.read(self.position, count)
        self.position += count
        return taken
