"""Hugging Face folders: config.json and one or several safetensors files."""

import re
from pathlib import Path, PurePosixPath

from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.checkpoints.json_object import read_json_object
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.safetensors import read_safetensors
from cl_llama.checkpoints.tensor import HostTensor
from cl_llama.checkpoints.tokenizer_file import hf_tokenizer
from cl_llama.errors import CheckpointError

INDEX_NAME = "model.safetensors.index.json"
_SHARD_NAME = re.compile(r"-\d+-of-(\d+)\.safetensors$")


def open_hf(path: Path, param_path: Path | None) -> Checkpoint:
    """Open a folder, or one safetensors file beside its config.json.

    A file that is one shard of several opens its whole folder. In a folder `model.safetensors`
    comes first, then the files of `model.safetensors.index.json`, then all `*.safetensors`.

    Raises CheckpointError for files that are missing, damaged, or disagree with each other.
    """
    folder = path if path.is_dir() else path.parent
    shard = _SHARD_NAME.search(path.name)
    alone = path.is_file() and (shard is None or int(shard[1]) == 1)
    config_path = param_path or folder / "config.json"
    if not config_path.exists():
        raise CheckpointError(
            f"{config_path}: no such file; a safetensors model needs its config.json beside it"
        )
    config = read_json_object(config_path)
    generation_path = folder / "generation_config.json"
    generation_config = read_json_object(generation_path) if generation_path.exists() else {}
    files: dict[str, MappedFile] = {}
    try:
        tensors = _read_files(folder, [path.name] if alone else None, files)
    except BaseException:
        for file in files.values():
            file.close()
        raise
    return Checkpoint(
        path,
        "hf",
        config,
        generation_config,
        tensors,
        hf_tokenizer(folder),
        tuple(files.values()),
    )


def _read_files(
    folder: Path, names: list[str] | None, files: dict[str, MappedFile]
) -> dict[str, HostTensor]:
    """The tensors of the named files, or of all the folder's; fills `files` as it opens them."""
    if names is None and (folder / "model.safetensors").exists():
        names = ["model.safetensors"]
    if names is None and (folder / INDEX_NAME).exists():
        return _read_index(folder, files)
    if names is None:
        names = sorted(file.name for file in folder.glob("*.safetensors"))
    tensors: dict[str, HostTensor] = {}
    for name in names:
        files[name] = MappedFile(folder / name)
        for tensor in read_safetensors(files[name]).values():
            if tensor.name in tensors:
                raise CheckpointError(
                    f"{folder}: tensor {tensor.name!r} is in {name} and in another file; keep one"
                    f" model in a folder, or give it a {INDEX_NAME}"
                )
            tensors[tensor.name] = tensor
    return tensors


def _read_index(folder: Path, files: dict[str, MappedFile]) -> dict[str, HostTensor]:
    index_path = folder / INDEX_NAME
    weight_map = read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index_path}: it has no weight_map of tensors to files")
    in_file: dict[str, dict[str, HostTensor]] = {}
    tensors: dict[str, HostTensor] = {}
    for tensor_name, file_name in weight_map.items():
        if not isinstance(file_name, str) or not _stays_inside(file_name):
            raise CheckpointError(
                f"{index_path}: {file_name!r:.200} for tensor {tensor_name[:200]!r} is not the"
                " name of a file in this folder"
            )
        if file_name not in files:
            if not (folder / file_name).exists():
                raise CheckpointError(
                    f"{folder / file_name}: no such file; {INDEX_NAME} names it: download it"
                )
            files[file_name] = MappedFile(folder / file_name)
            in_file[file_name] = dict(read_safetensors(files[file_name]))
        if tensor_name not in in_file[file_name]:
            raise CheckpointError(
                f"{folder / file_name}: tensor {tensor_name[:200]!r} is not in it, though"
                f" {INDEX_NAME} says so; are the files from one model?"
            )
        tensors[tensor_name] = in_file[file_name][tensor_name]
    return tensors


def _stays_inside(name: str) -> bool:
    """Whether a relative path leads to something below its folder, on every system."""
    if not name or "\\" in name or ":" in name or "\0" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.name != ""
