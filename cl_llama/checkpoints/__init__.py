"""Model files as named host tensors: safetensors, Meta's .pth and llama2.c's .bin.

`open_checkpoint` maps the files and reads no weights; `resolve_model` finds a model by path or by
its name on the Hugging Face hub. Nothing here knows of devices.
"""

from pathlib import Path

from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.checkpoints.hf import INDEX_NAME, open_hf
from cl_llama.checkpoints.llama2c import read_llama2c
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import HostTensor
from cl_llama.checkpoints.tokenizer_file import llama2c_tokenizer
from cl_llama.errors import CheckpointError

__all__ = ["Checkpoint", "HostTensor", "open_checkpoint"]


def open_checkpoint(path: str | Path, *, param_path: str | Path | None = None) -> Checkpoint:
    """Open a model: a folder or a file, told apart by what is there.

    - a folder with safetensors files and config.json, or one safetensors file beside it;
    - a llama2.c `.bin` file, legacy or version 1.

    `param_path` replaces the config.json or params.json beside the model.

    Raises CheckpointError where nothing of these is there, or where it is damaged.
    """
    path = Path(path).expanduser()
    params = Path(param_path).expanduser() if param_path is not None else None
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / INDEX_NAME).exists() or any(path.glob("*.safetensors")):
            return open_hf(path, params)
        raise CheckpointError(f"{path}: no model in this folder")
    if path.suffix == ".safetensors":
        return open_hf(path, params)
    return _open_llama2c(path, params)


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
