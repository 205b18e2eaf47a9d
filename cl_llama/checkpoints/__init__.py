"""Model files as named host tensors: safetensors, GGUF, Meta's .pth and llama2.c's .bin.

`open_checkpoint` maps the files and reads no weights; `resolve_model` finds a model by path or by
its name on the Hugging Face hub. Nothing here knows of devices.
"""

from pathlib import Path

from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.checkpoints.gguf import find_gguf, open_gguf
from cl_llama.checkpoints.gguf_header import MAGIC as GGUF_MAGIC
from cl_llama.checkpoints.hf import PYTORCH_NAME, holds_hf_model, open_hf
from cl_llama.checkpoints.hub import resolve_model
from cl_llama.checkpoints.llama2c import read_llama2c
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.meta import find_shards, open_meta
from cl_llama.checkpoints.tensor import HostTensor
from cl_llama.checkpoints.tokenizer_file import llama2c_tokenizer
from cl_llama.errors import CheckpointError

__all__ = ["Checkpoint", "HostTensor", "open_checkpoint", "resolve_model"]


def open_checkpoint(path: str | Path, *, param_path: str | Path | None = None) -> Checkpoint:
    """Open a model: a folder or a file, told apart by what is there.

    - a folder with config.json and safetensors files (or PyTorch's pytorch_model*.bin), or one
      such file beside it;
    - a folder with params.json and `consolidated.NN.pth` files, or with the folders that `unzip`
      makes of them, or one of these files or folders;
    - a folder with one GGUF model, or a `.gguf` file, one of a split model's included;
    - a llama2.c `.bin` file: legacy, version 1, or version 2, whose weights are int8.

    `param_path` replaces the config.json or params.json beside the model. Close the checkpoint
    when its tensors have been read, or use it in a `with` statement.

    Raises CheckpointError where none of these is there, or where it is damaged.
    """
    path = Path(path).expanduser()
    params = Path(param_path).expanduser() if param_path is not None else None
    try:
        is_folder = path.is_dir()
        if not path.exists():
            raise CheckpointError(f"{path}: no such file or folder")
        return _open_folder(path, params) if is_folder else _open_file(path, params)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None


def _open_folder(path: Path, param_path: Path | None) -> Checkpoint:
    if holds_hf_model(path):
        return open_hf(path, param_path)
    shards = find_shards(path)
    if shards:
        return open_meta(path, shards, param_path)
    model = find_gguf(path)
    if model is not None:
        return open_gguf(model, param_path)
    for pattern, advice in (
        ("*.bin", "name the llama2.c .bin file itself"),
        ("*.pth", "name the .pth file itself"),
    ):
        other = next(path.glob(pattern), None)
        if other is not None:
            raise CheckpointError(f"{path}: no model to open here, only {other.name}; {advice}")
    raise CheckpointError(
        f"{path}: no model in this folder; expected *.safetensors with config.json, a .gguf"
        " file, or consolidated.NN.pth with params.json"
    )


def _open_file(path: Path, param_path: Path | None) -> Checkpoint:
    file = MappedFile(path)
    start = file.read(0, min(4, file.size))
    file.close()
    if start == GGUF_MAGIC or path.suffix == ".gguf":
        return open_gguf(path, param_path)
    if path.suffix == ".safetensors" or PYTORCH_NAME.fullmatch(path.name):
        return open_hf(path, param_path)
    if path.suffix in (".pth", ".pt") or start == b"PK\x03\x04":
        return open_meta(path, find_shards(path), param_path)
    return _open_llama2c(path, param_path)


def _open_llama2c(path: Path, param_path: Path | None) -> Checkpoint:
    if param_path is not None:
        raise CheckpointError(f"{path}: a llama2.c file carries its parameters; leave {param_path}")
    file = MappedFile(path)
    try:
        config, tensors = read_llama2c(file)
    except BaseException:
        file.close()
        raise
    tokenizer = llama2c_tokenizer(path, config["vocab_size"])
    return Checkpoint(path, "llama2c", config, {}, tensors, tokenizer, (file,))
