"""GGUF models: one file, or several named `NAME-00001-of-0000N.gguf`."""

import re
from collections.abc import Mapping
from pathlib import Path

from cl_llama.blocks import FORMATS, GGUF_TYPES
from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.checkpoints.gguf_header import GgufHeader, TensorEntry, read_gguf_header
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import HostTensor, MappedTensor
from cl_llama.checkpoints.tokenizer_file import hf_tokenizer
from cl_llama.errors import CheckpointError

PART_NAME = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""The name of one of a split model's files."""

# What other type numbers mean, so that an error can name them.
_OTHER_TYPES = {
    9: "q8_1",
    15: "q8_k",
    16: "iq2_xxs",
    17: "iq2_xs",
    18: "iq3_xxs",
    19: "iq1_s",
    21: "iq3_s",
    22: "iq2_s",
    24: "i8",
    25: "i16",
    26: "i32",
    27: "i64",
    28: "f64",
    29: "iq1_m",
    34: "tq1_0",
    35: "tq2_0",
    39: "mxfp4",
}


def open_gguf(path: Path, param_path: Path | None) -> Checkpoint:
    """Open a GGUF file, and the other parts where it is one of several.

    The configuration is the metadata of the (first) file. Its own vocabulary is the tokenizer;
    without one, what lies beside it.

    Raises CheckpointError for files that are missing, damaged or of unsupported types.
    """
    if param_path is not None:
        raise CheckpointError(f"{path}: a GGUF file carries its configuration; leave {param_path}")
    files = [MappedFile(path)]
    try:
        headers = [read_gguf_header(files[0])]
        count = _part_count(files[0], headers[0])
        if count > 1:
            files[0].close()
            files = [MappedFile(part) for part in _part_paths(path, count)]
            headers = [read_gguf_header(file) for file in files]
            _check_parts(files, headers)
        tensors: dict[str, HostTensor] = {}
        for file, header in zip(files, headers, strict=True):
            for name, tensor in _read_tensors(file, header).items():
                if name in tensors:
                    raise CheckpointError(f"{file.path}: tensor {name[:200]!r} is in it twice")
                tensors[name] = tensor
        _check_total(path, headers[0].metadata, len(tensors))
    except BaseException:
        for file in files:
            file.close()
        raise
    metadata = headers[0].metadata
    has_own = metadata.get("tokenizer.ggml.model", "none") != "none"
    tokenizer = files[0].path if has_own else hf_tokenizer(path.parent)
    return Checkpoint(path, "gguf", metadata, {}, tensors, tokenizer, tuple(files))


def find_gguf(folder: Path) -> Path | None:
    """The GGUF model in a folder, if any: its only file, or the first part of its only split one.

    Raises CheckpointError where there are several.
    """
    models: dict[str, Path] = {}
    for path in sorted(folder.glob("*.gguf")):
        part = PART_NAME.fullmatch(path.name)
        models.setdefault(part["name"] if part else path.name, path)
    if len(models) > 1:
        names = [path.name for path in models.values()]
        shown = ", ".join(names[:4] + ["..."] * (len(names) > 4))
        raise CheckpointError(
            f"{folder}: {len(names)} GGUF models in this folder ({shown}); name the file itself"
        )
    return next(iter(models.values()), None)


def _part_count(file: MappedFile, header: GgufHeader) -> int:
    count = header.metadata.get("split.count", 1)
    if type(count) is not int or not 0 <= count <= 99999:
        raise CheckpointError(f"{file.path}: split.count is {count!r:.80}, expected 1 to 99999")
    return count


def _part_paths(path: Path, count: int) -> list[Path]:
    part = PART_NAME.fullmatch(path.name)
    if part is None or int(part["count"]) != count:
        raise CheckpointError(
            f"{path}: it is one of {count} files, whose names end in -00001-of-{count:05}.gguf and"
            " so on; give them these names again"
        )
    paths = [
        path.with_name(f"{part['name']}-{i:05}-of-{count:05}.gguf") for i in range(1, count + 1)
    ]
    for other in paths:
        if not other.exists():
            raise CheckpointError(
                f"{other}: no such file, but {path.name} is one of {count}; download all of them"
            )
    return paths


def _check_parts(files: list[MappedFile], headers: list[GgufHeader]) -> None:
    for i, (file, header) in enumerate(zip(files, headers, strict=True)):
        number, count = (header.metadata.get(key) for key in ("split.no", "split.count"))
        if (number, count) != (i, len(files)):
            raise CheckpointError(
                f"{file.path}: split.no is {number!r:.80} and split.count {count!r:.80}, expected"
                f" {i} and {len(files)}; are the files from one model?"
            )


def _check_total(path: Path, metadata: Mapping[str, object], found: int) -> None:
    expected = metadata.get("split.tensors.count", found)
    if expected != found:
        raise CheckpointError(
            f"{path}: its files have {found} tensors, split.tensors.count is {expected!r:.80}; are"
            " they from one model?"
        )


def _read_tensors(file: MappedFile, header: GgufHeader) -> dict[str, MappedTensor]:
    """The tensors by name; they lie at aligned places, inside the file and beside each other."""
    tensors: dict[str, MappedTensor] = {}
    for entry in header.tensors:
        if entry.name in tensors:
            raise CheckpointError(f"{file.path}: tensor {entry.name[:200]!r} stands there twice")
        tensors[entry.name] = _tensor(file, header, entry)
    end = header.data_start
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise CheckpointError(
                f"{file.path}: tensor {tensor.name[:200]!r} at byte {tensor.offset} overlaps the"
                f" one before it, which ends at {end}; the file is damaged"
            )
        end = tensor.offset + tensor.nbytes
    return tensors


def _tensor(file: MappedFile, header: GgufHeader, entry: TensorEntry) -> MappedTensor:
    where = f"{file.path}: tensor {entry.name[:200]!r}"
    form = GGUF_TYPES.get(entry.type)
    if form is None:
        name = _OTHER_TYPES.get(entry.type, f"of type {entry.type}")
        raise CheckpointError(
            f"{where} is {name}, which is not supported; supported are"
            f" {', '.join(GGUF_TYPES.values())}"
        )
    if form in FORMATS:
        elements = FORMATS[form].elements
        if len(entry.shape) == 1 or entry.shape[-1] % elements:
            raise CheckpointError(
                f"{where} is {form} of shape {entry.shape}, expected rows of a multiple of"
                f" {elements} values"
            )
    tensor = MappedTensor(entry.name, entry.shape, form, file, header.data_start + entry.offset)
    if entry.offset % header.alignment:
        raise CheckpointError(
            f"{where} begins {entry.offset} bytes behind the first, expected a multiple of"
            f" {header.alignment}; the file is damaged"
        )
    if tensor.offset + tensor.nbytes > file.size:
        raise CheckpointError(
            f"{where} ends at byte {tensor.offset + tensor.nbytes}, the file has {file.size}; it is"
            " truncated: copy or download it again"
        )
    return tensor
