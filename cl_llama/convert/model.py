"""Converts a model of any format that is read to one that is written."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cl_llama.chat.files import DEFAULT, read_templates
from cl_llama.checkpoints import Checkpoint, open_checkpoint
from cl_llama.convert.hf_tokenizer import copied_files, tokenizer_files
from cl_llama.convert.to_gguf import write_gguf_model
from cl_llama.convert.to_hf import write_hf_model
from cl_llama.convert.token_sources import read_tokens
from cl_llama.convert.tokens import Tokens
from cl_llama.errors import ConfigError, TokenizerError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import LlamaTensors, map_tensors
from cl_llama.tokenizers import load_tokenizer
from cl_llama.tokenizers.loading import FOLDER_ORDER


def convert_model(
    source: Path,
    target: Path,
    *,
    quantize: str | None = None,
    tokenizer_path: str | Path | None = None,
    param_path: str | Path | None = None,
    with_tokenizer: bool = True,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Write the model at `source` as a GGUF file or a Hugging Face folder of safetensors.

    target: a name that ends in .gguf, or a folder; what is there already is replaced once the new
    files are whole. quantize: one of QUANTIZATIONS, in a GGUF file; None: matrices are float16.
    tokenizer_path: the tokenizer's file or folder, where it does not lie beside the model.
    param_path: stands in for the model's config.json or params.json. with_tokenizer: False leaves
    the tokenizer out. on_progress: called with the share of the weights that is written, 0 to 1.

    Raises ClLlamaError for a model that cannot be read or that the target cannot express, OSError
    for files that cannot be written.
    """
    with open_checkpoint(source, param_path=param_path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        # What is written states the logits' scale: the final norm is not to carry it.
        tensors = map_tensors(replace(config, logits_scale=1.0), checkpoint)
        found = tokenizer_path or checkpoint.tokenizer_path
        path = None if found is None or not with_tokenizer else _tokenizer_file(Path(found))
        tokens = None if path is None else _tokens(checkpoint, config, path)
        if target.suffix == ".gguf":
            write_gguf_model(
                config,
                tensors,
                source,
                target,
                quantize=quantize,
                token_entries=None if tokens is None else tokens.metadata(config.vocab_size),
                on_progress=on_progress,
            )
            return
        if not isinstance(tensors, LlamaTensors):
            raise ConfigError(
                f"{source}: {config.architecture} models are written as GGUF alone; name a file "
                "that ends in .gguf"
            )
        files: Mapping[str, bytes] = {}
        if tokens is not None and path is not None:
            own = copied_files(path.parent) if path.name == "tokenizer.json" else {}
            files = own or tokenizer_files(tokens, path)
        write_hf_model(
            config,
            tensors,
            source,
            target,
            bos_id=config.bos_id if tokens is None else tokens.bos_id,
            eos_ids=config.eos_ids if tokens is None else tokens.end_ids,
            other_files=files,
            on_progress=on_progress,
        )


def _tokenizer_file(path: Path) -> Path:
    if path.is_dir():
        return next((path / name for name in FOLDER_ORDER if (path / name).is_file()), path)
    return path


def _tokens(checkpoint: Checkpoint, config: ModelConfig, path: Path) -> Tokens:
    """The vocabulary, with what the model's own files say of its end and of its chats."""
    tokenizer = load_tokenizer(path)
    if tokenizer.vocab_size > config.vocab_size:
        raise TokenizerError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, the model only "
            f"{config.vocab_size}; is it another model's tokenizer?"
        )
    tokens = read_tokens(tokenizer, path)
    ends = config.eos_ids or tokenizer.eos_ids
    if checkpoint.format == "llama2c" and tokenizer.bos_id is not None:
        ends = (*ends, tokenizer.bos_id)  # these models saw nothing else between two texts
    template = tokens.chat_template or _template(path, checkpoint)
    return replace(tokens, end_ids=tuple(dict.fromkeys(ends)), chat_template=template)


def _template(path: Path, checkpoint: Checkpoint) -> str | None:
    """The default chat template beside the tokenizer or the model."""
    model = checkpoint.path
    for folder in (path.parent, model if model.is_dir() else model.parent):
        found = read_templates(folder).templates
        if found:
            return found.get(DEFAULT, next(iter(found.values())))
    return None
