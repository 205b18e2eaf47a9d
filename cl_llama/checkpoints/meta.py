"""Meta's checkpoints: params.json beside `consolidated.NN.pth`, one or several, also unzipped."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.checkpoints.json_object import read_json_object
from cl_llama.checkpoints.tensor import HostTensor, join_shards
from cl_llama.checkpoints.tokenizer_file import meta_tokenizer
from cl_llama.checkpoints.torch_archive import (
    TorchArchive,
    TorchFolder,
    TorchZip,
    read_torch_tensors,
)
from cl_llama.errors import CheckpointError

_SHARD_NAME = re.compile(r"consolidated(?:\.(\d+))?(?:\.pth)?$")
_ROW_PARALLEL = re.compile(r"(\.(wq|wk|wv|w1|w3)|^output)\.weight$")  # shards hold rows
_COLUMN_PARALLEL = re.compile(r"\.(wo|w2)\.weight$")  # shards hold columns


def find_shards(path: Path) -> list[Path]:
    """The shards of the Meta checkpoint at `path`, in order; empty if there is none.

    `path` is a `.pth` file, a folder of `consolidated.NN.pth` files or of the folders `unzip`
    makes of them, or such a folder itself. One shard of several stands for all.

    Raises CheckpointError where a shard is missing between the others.
    """
    name = _SHARD_NAME.match(path.name)
    if not path.is_dir() or (path / "data.pkl").exists() or (name and _pickle_folder(path)):
        if name is None or name[1] is None:
            return [path]
        return _shards_in(path.absolute().parent)
    shards = _shards_in(path)
    if not shards and (path / "archive" / "data.pkl").exists():
        return [path / "archive"]
    return shards


def _shards_in(folder: Path) -> list[Path]:
    found: dict[int, Path] = {}
    for candidate in sorted(folder.iterdir()):
        name = _SHARD_NAME.match(candidate.name)
        if name is None or (candidate.is_dir() and _pickle_folder(candidate) is None):
            continue
        number = int(name[1] or 0)
        if number not in found or candidate.is_file():  # the file, where both are there
            found[number] = candidate
    missing = [number for number in range(len(found)) if number not in found]
    if missing:
        raise CheckpointError(
            f"{folder}: consolidated.{missing[0]:02} is missing, there are shards up to"
            f" {max(found):02}; download it"
        )
    return [found[number] for number in sorted(found)]


def _pickle_folder(shard: Path) -> Path | None:
    """The folder with data.pkl: an unzipped shard, or the archive's top folder in it."""
    if (shard / "data.pkl").exists():
        return shard
    inside = [pickle.parent for pickle in shard.glob("*/data.pkl")]
    return inside[0] if len(inside) == 1 else None


def open_meta(path: Path, shards: Sequence[Path], param_path: Path | None) -> Checkpoint:
    """Open the Meta checkpoint of these shards (see `find_shards`), merging them by tensor.

    Raises CheckpointError for files that are missing, damaged, or disagree with each other.
    """
    folder = shards[0].parent
    config_path = param_path
    if config_path is None:
        config_path = folder / "params.json"
        if not config_path.exists():
            raise CheckpointError(
                f"{config_path}: no such file; a .pth model needs its params.json beside it, or"
                " named by --param-path"
            )
    config = read_json_object(config_path)
    archives: list[TorchArchive] = []
    try:
        parts = []
        for shard in shards:
            archives.append(_open_archive(shard))
            parts.append(read_torch_tensors(archives[-1]))
        tensors = _merge(shards, parts, config)
    except BaseException:
        for archive in archives:
            for file in archive.files():
                file.close()
        raise
    files = tuple(file for archive in archives for file in archive.files())
    return Checkpoint(path, "meta", config, {}, tensors, meta_tokenizer(folder), files)


def _open_archive(shard: Path) -> TorchArchive:
    if not shard.is_dir():
        return TorchZip(shard)
    folder = _pickle_folder(shard)
    if folder is None:
        raise CheckpointError(f"{shard}: no data.pkl in this folder")
    return TorchFolder(folder)


def _merge(
    shards: Sequence[Path], parts: Sequence[Mapping[str, HostTensor]], config: Mapping[str, Any]
) -> dict[str, HostTensor]:
    if len(parts) == 1:
        return dict(parts[0])
    for shard, tensors in zip(shards, parts, strict=True):
        different = sorted(tensors.keys() ^ parts[0].keys())
        if different:
            raise CheckpointError(
                f"{shard}: tensor {different[0][:200]!r} is in only one of it and {shards[0].name};"
                " are the shards from one model?"
            )
    return {
        name: _merge_tensor(shards, [tensors[name] for tensors in parts], config)
        for name in parts[0]
    }


def _merge_tensor(
    shards: Sequence[Path], parts: Sequence[HostTensor], config: Mapping[str, Any]
) -> HostTensor:
    first = parts[0]
    for shard, part in zip(shards, parts, strict=True):
        if part.shape != first.shape or part.format != first.format:
            raise CheckpointError(
                f"{shard}: tensor {part.name[:200]!r} is {part.format} {part.shape}, in"
                f" {shards[0].name} {first.format} {first.shape}; are the shards from one model?"
            )
    axis = _split_axis(first, len(parts), config)
    return first if axis is None else join_shards(first.name, parts, axis)


def _split_axis(tensor: HostTensor, count: int, config: Mapping[str, Any]) -> int | None:
    """Along which axis a tensor is split over `count` shards; None: each has all of it."""
    if len(tensor.shape) == 1:
        return None  # norms, rope.freqs
    if len(tensor.shape) == 2:
        if _ROW_PARALLEL.search(tensor.name):
            return 0
        if _COLUMN_PARALLEL.search(tensor.name):
            return 1
        if tensor.name == "tok_embeddings.weight":  # by columns until Llama 2, by rows in Llama 3
            width = config.get("dim")
            if tensor.shape[1] == width:
                return 0
            if tensor.shape[1] * count == width:
                return 1
            raise CheckpointError(
                f"tok_embeddings.weight: {count} shards of shape {tensor.shape} make no width of"
                f" {width!r:.40}; is this params.json from another model?"
            )
    raise CheckpointError(
        f"tensor {tensor.name[:200]!r} of shape {tensor.shape}: unknown how its {count} shards are"
        " joined"
    )
