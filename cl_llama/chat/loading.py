"""The chat template of a model that is being loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cl_llama.chat.choice import choose_templates
from cl_llama.chat.files import ModelTemplates, metadata_templates, read_templates
from cl_llama.chat.template import ChatTemplate

if TYPE_CHECKING:
    from cl_llama.checkpoints import Checkpoint
    from cl_llama.tokenizers import Tokenizer


def load_chat_template(
    wanted: str | None,
    checkpoint: "Checkpoint",
    tokenizer: "Tokenizer",
    tokenizer_path: Path,
) -> ChatTemplate | None:
    """The template that `wanted` means (see `choose_templates`), else the model's own, if any.

    The model's own is in its GGUF file, or lies beside its tokenizer or its weights; a Meta
    checkpoint, which never brings one, gets Llama 2's or 3's by its tokenizer.

    Raises ChatTemplateError for files that cannot be read, and where nothing is found.
    """
    own = _own_templates(checkpoint, tokenizer_path)
    builtin = _meta_builtin(tokenizer) if checkpoint.format == "meta" else None
    templates = choose_templates(wanted, own.templates, builtin)
    if not templates:
        return None
    tokens: dict[str, str | None] = {
        name: None if token_id is None else tokenizer.piece(token_id)
        for name, token_id in (("bos_token", tokenizer.bos_id), ("eos_token", tokenizer.eos_id))
    }
    tokens |= own.special_tokens
    return ChatTemplate(templates, {name: text for name, text in tokens.items() if text})


def _own_templates(checkpoint: "Checkpoint", tokenizer_path: Path) -> ModelTemplates:
    found = ModelTemplates()
    if checkpoint.format == "gguf":
        found = metadata_templates(checkpoint.config)
        if found.templates or tokenizer_path in {file.path for file in checkpoint.files}:
            return found
    for folder in _folders(tokenizer_path, checkpoint.path):
        here = read_templates(folder)
        found = ModelTemplates(here.templates, {**here.special_tokens, **found.special_tokens})
        if found.templates:
            break
    return found


def _folders(*paths: Path) -> Iterator[Path]:
    yield from dict.fromkeys(path if path.is_dir() else path.parent for path in paths)


def _meta_builtin(tokenizer: "Tokenizer") -> str:
    header = tokenizer.encode("<|start_header_id|>", add_bos=False, special=True)
    return "llama3" if len(header) == 1 else "llama2"
