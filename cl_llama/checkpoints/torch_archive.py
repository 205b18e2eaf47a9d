"""PyTorch's files: a zip of `data.pkl` and a record per storage, or the folder `unzip` makes of it.

The records of a zip are stored uncompressed, so that tensors are mapped where they lie.
"""

import math
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from pathlib import Path

from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import ITEM_BYTES, MappedTensor
from cl_llama.checkpoints.torch_pickle import StorageRecord, TensorRecord, read_torch_pickle
from cl_llama.errors import CheckpointError

_MAX_PICKLE_BYTES = 64 * 2**20
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 1


class TorchArchive(ABC):
    """The records of a PyTorch file by name (`data.pkl`, `data/0`, ...)."""

    path: Path

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The whole of a small record, checked; None if there is no such record."""

    @abstractmethod
    def locate(self, name: str) -> tuple[MappedFile, int, int]:
        """The file, byte offset and length of a record."""

    @abstractmethod
    def files(self) -> list[MappedFile]:
        """The files mapped so far."""


class TorchZip(TorchArchive):
    """A `.pth` or `.bin` file as `torch.save` writes it since PyTorch 1.6."""

    def __init__(self, path: Path) -> None:
        """Read the zip's directory.

        Raises CheckpointError where the file is no zip archive, or a damaged one.
        """
        self.path = path
        self._file = MappedFile(path)
        if self._file.read(0, min(4, self._file.size)) != b"PK\x03\x04":
            raise CheckpointError(
                f"{path}: not a zip archive as torch.save writes it; files of PyTorch before 1.6"
                " must be loaded and saved again"
            )
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
        except (
            OSError,
            ValueError,
            LookupError,
            ArithmeticError,
            EOFError,
            RuntimeError,
            struct.error,
            zipfile.BadZipFile,
        ) as error:
            raise CheckpointError(
                f"{path}: the zip directory at its end is damaged or cut off ({error});"
                " copy or download it again"
            ) from None
        pickles = [
            info.filename for info in infos if re.fullmatch(r"([^/]*/)?data\.pkl", info.filename)
        ]
        if len(pickles) != 1:
            raise CheckpointError(f"{path}: {len(pickles)} data.pkl records in it, expected one")
        prefix = pickles[0].removesuffix("data.pkl")
        self._records: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if info.filename.startswith(prefix):
                name = info.filename.removeprefix(prefix)
                if name in self._records:
                    raise CheckpointError(f"{path}: record {name[:200]!r} is in it twice")
                self._records[name] = info

    def locate(self, name: str) -> tuple[MappedFile, int, int]:
        """The file, byte offset and length of a record.

        Raises CheckpointError where it is missing, compressed, encrypted, or out of the file.
        """
        info = self._records.get(name)
        where = f"{self.path}: record {name[:200]!r}"
        if info is None:
            raise CheckpointError(f"{where} is missing; the archive is damaged")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise CheckpointError(
                f"{where} is compressed; torch.save stores records as they are: save it again"
            )
        if info.flag_bits & _ENCRYPTED:
            raise CheckpointError(f"{where} is encrypted")
        header = self._file.read(info.header_offset, _LOCAL_HEADER.size)
        fields = _LOCAL_HEADER.unpack(header)
        if fields[0] != b"PK\x03\x04":
            raise CheckpointError(f"{where} does not begin at byte {info.header_offset}; damaged")
        start = info.header_offset + _LOCAL_HEADER.size + fields[9] + fields[10]
        if start + info.file_size > self._file.size:
            raise CheckpointError(
                f"{where} ends at byte {start + info.file_size}, the file has {self._file.size};"
                " it is truncated"
            )
        return self._file, start, info.file_size

    def read(self, name: str) -> bytes | None:
        """The whole of a small record, its checksum compared; None if there is no such record."""
        if name not in self._records:
            return None
        file, start, length = self.locate(name)
        if length > _MAX_PICKLE_BYTES:
            raise CheckpointError(f"{self.path}: record {name!r} has {length} bytes, too many")
        data = file.read(start, length)
        if zlib.crc32(data) != self._records[name].CRC:
            raise CheckpointError(f"{self.path}: the checksum of record {name!r} is wrong; damaged")
        return data

    def files(self) -> list[MappedFile]:
        """The one file."""
        return [self._file]


class TorchFolder(TorchArchive):
    """An unzipped PyTorch file: a folder with `data.pkl`, `data/0`, `data/1`, ..."""

    def __init__(self, path: Path) -> None:
        """`path` is the folder that holds data.pkl."""
        self.path = path
        self._files: dict[str, MappedFile] = {}

    def locate(self, name: str) -> tuple[MappedFile, int, int]:
        """The file, byte offset and length of a record; raises CheckpointError if it is missing."""
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in name:
            raise CheckpointError(f"{self.path}: {name[:200]!r} is no record of a PyTorch file")
        if name not in self._files:
            # One file a tensor: thousands in all, so none stays open longer than it is read.
            self._files[name] = MappedFile(self.path / name, transient=True)
        return self._files[name], 0, self._files[name].size

    def read(self, name: str) -> bytes | None:
        """The whole of a small record; None if there is no such record."""
        if not (self.path / name).exists():
            return None
        file, start, length = self.locate(name)
        if length > _MAX_PICKLE_BYTES:
            raise CheckpointError(f"{file.path}: {length} bytes are too many for it")
        data = file.read(start, length)
        file.release(start, length)
        return data

    def files(self) -> list[MappedFile]:
        """The files of the records located so far."""
        return list(self._files.values())


def read_torch_tensors(archive: TorchArchive) -> dict[str, MappedTensor]:
    """The named tensors of a PyTorch file, without reading their values.

    Raises CheckpointError where the file is damaged, holds anything but contiguous tensors in
    half, bfloat16 or float, or was written on a big-endian machine.
    """
    pickled = archive.read("data.pkl")
    if pickled is None:
        raise CheckpointError(f"{archive.path}: no data.pkl in it")
    byte_order = archive.read("byteorder")
    if byte_order not in (None, b"little"):
        raise CheckpointError(f"{archive.path}: byte order {byte_order!r:.40}, expected little")
    records = read_torch_pickle(pickled, f"{archive.path}: data.pkl")
    return {name: _map_tensor(archive, name, record) for name, record in records.items()}


def _map_tensor(archive: TorchArchive, name: str, record: TensorRecord) -> MappedTensor:
    where = f"{archive.path}: tensor {name[:200]!r}"
    storage: StorageRecord = record.storage
    if storage.dtype is None:
        raise CheckpointError(
            f"{where} is a {storage.kind}; supported are HalfStorage, BFloat16Storage and"
            " FloatStorage"
        )
    values = math.prod(record.shape)
    if not _is_contiguous(record):
        raise CheckpointError(
            f"{where} has shape {record.shape} and strides {record.stride}, expected rows one"
            " after another; save it again after .contiguous()"
        )
    if record.offset + values > storage.numel:
        raise CheckpointError(
            f"{where} needs {values} values from {record.offset}, its storage has {storage.numel}"
        )
    if values == 0:
        raise CheckpointError(f"{where} has shape {record.shape}: it is empty")
    file, start, length = archive.locate(f"data/{storage.key}")
    item = ITEM_BYTES[storage.dtype]
    if length != storage.numel * item:
        raise CheckpointError(
            f"{where}: its storage of {storage.numel} values needs {storage.numel * item} bytes,"
            f" record data/{storage.key[:40]} has {length}"
        )
    return MappedTensor(name, record.shape, storage.dtype, file, start + record.offset * item)


def _is_contiguous(record: TensorRecord) -> bool:
    expected = 1
    for size, stride in zip(reversed(record.shape), reversed(record.stride), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True
