"""Hugging Face folders: config.json and one or several safetensors (or pytorch_model) files."""

import re
from pathlib import Path, PurePosixPath

from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.checkpoints.json_object import read_json_object
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.safetensors import read_safetensors
from cl_llama.checkpoints.tensor import HostTensor
from cl_llama.checkpoints.tokenizer_file import hf_tokenizer
from cl_llama.checkpoints.torch_archive import TorchZip, read_torch_tensors
from cl_llama.errors import CheckpointError

PYTORCH_NAME = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
"""The names that Hugging Face's weights in PyTorch's own format have."""

_WHOLE_AND_INDEX = (
    ("model.safetensors", "model.safetensors.index.json", "*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model*.bin"),
)
"""The name of an unsplit model, of a split one's index, and the pattern of its files."""

_SHARD_NAME = re.compile(r"-\d+-of-(\d+)\.(safetensors|bin)$")


def holds_hf_model(folder: Path) -> bool:
    """Whether `folder` has files, or an index of some, under Hugging Face's names."""
    return any(
        (folder / index).exists() or any(folder.glob(pattern))
        for _, index, pattern in _WHOLE_AND_INDEX
    )


def open_hf(path: Path, param_path: Path | None) -> Checkpoint:
    """Open a folder, or one file of weights beside its config.json.

    A file that is one shard of several opens its whole folder. In a folder `model.safetensors`
    comes first, then the files of `model.safetensors.index.json`, then all `*.safetensors`, then
    likewise `pytorch_model.bin`.

    Raises CheckpointError for files that are missing, damaged, or disagree with each other.
    """
    folder = path if path.is_dir() else path.parent
    shard = _SHARD_NAME.search(path.name)
    alone = path.is_file() and (shard is None or int(shard[1]) == 1)
    config_path = param_path or folder / "config.json"
    if not config_path.exists():
        raise CheckpointError(
            f"{config_path}: no such file; the model needs its config.json beside its weights, or"
            " named by --param-path"
        )
    config = read_json_object(config_path)
    generation_path = folder / "generation_config.json"
    generation_config = read_json_object(generation_path) if generation_path.exists() else {}
    files: list[MappedFile] = []
    try:
        tensors = _read_file(path, files) if alone else _read_folder(folder, files)
    except BaseException:
        for file in files:
            file.close()
        raise
    return Checkpoint(
        path, "hf", config, generation_config, tensors, hf_tokenizer(folder), tuple(files)
    )


def _read_file(path: Path, files: list[MappedFile]) -> dict[str, HostTensor]:
    """The tensors of one file, which joins `files`."""
    if path.suffix == ".safetensors":
        files.append(MappedFile(path))
        return dict(read_safetensors(files[-1]))
    archive = TorchZip(path)
    files.extend(archive.files())
    return dict(read_torch_tensors(archive))


def _read_folder(folder: Path, files: list[MappedFile]) -> dict[str, HostTensor]:
    for whole, index, pattern in _WHOLE_AND_INDEX:
        if (folder / whole).exists():
            return _read_file(folder / whole, files)
        if (folder / index).exists():
            return _read_index(folder, index, files)
        paths = sorted(folder.glob(pattern))
        if paths:
            return _read_together(folder, paths, index, files)
    raise CheckpointError(f"{folder}: no safetensors files in this folder")


def _read_together(
    folder: Path, paths: list[Path], index: str, files: list[MappedFile]
) -> dict[str, HostTensor]:
    tensors: dict[str, HostTensor] = {}
    for path in paths:
        for tensor in _read_file(path, files).values():
            if tensor.name in tensors:
                raise CheckpointError(
                    f"{folder}: tensor {tensor.name[:200]!r} is in {path.name} and in another file;"
                    f" keep one model in a folder, or give it a {index}"
                )
            tensors[tensor.name] = tensor
    return tensors


def _read_index(folder: Path, index: str, files: list[MappedFile]) -> dict[str, HostTensor]:
    """The tensors that an index names, each from the file that it says."""
    weight_map = read_json_object(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / index}: it has no weight_map of tensors to files")
    in_file: dict[str, dict[str, HostTensor]] = {}
    tensors: dict[str, HostTensor] = {}
    for tensor_name, file_name in weight_map.items():
        if not isinstance(file_name, str) or not _stays_inside(file_name):
            raise CheckpointError(
                f"{folder / index}: {file_name!r:.200} for tensor {tensor_name[:200]!r} is not the"
                " name of a file in this folder"
            )
        if file_name not in in_file:
            if not (folder / file_name).exists():
                raise CheckpointError(
                    f"{folder / file_name}: no such file, but {index} names it; download it"
                )
            in_file[file_name] = _read_file(folder / file_name, files)
        if tensor_name not in in_file[file_name]:
            raise CheckpointError(
                f"{folder / file_name}: tensor {tensor_name[:200]!r} is not in it, but {index} says"
                " so; are the files from one model?"
            )
        tensors[tensor_name] = in_file[file_name][tensor_name]
    return tensors


def _stays_inside(name: str) -> bool:
    """Whether a relative path leads to something below its folder, on every system."""
    if not name or "\\" in name or ":" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.name != ""
