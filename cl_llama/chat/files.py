"""The templates that a model brings, and the spellings of special tokens that they use.

As transformers has it: `chat_template.jinja` and `additional_chat_templates/NAME.jinja`, else the
"chat_template" of tokenizer_config.json, which is a template or a list of named ones. A GGUF file
has "tokenizer.chat_template" in its metadata, and "tokenizer.chat_template.NAME" for others.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cl_llama.errors import ChatTemplateError

DEFAULT = "default"
"""The name of a template that has no other."""
_METADATA_KEY = "tokenizer.chat_template"
_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")


@dataclass(frozen=True)
class ModelTemplates:
    """What lies beside a model."""

    templates: Mapping[str, str] = field(default_factory=dict)
    """Sources by name."""
    special_tokens: Mapping[str, str | None] = field(default_factory=dict)
    """"bos_token" and the like, as far as a file speaks of them; None: there is none."""


def read_templates(folder: Path) -> ModelTemplates:
    """The templates of a folder's files, if any.

    Raises ChatTemplateError for files that cannot be read.
    """
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        config |= _read_object(folder / name)
    tokens = {name: _spelling(config[name]) for name in _TOKENS if name in config}
    files = {DEFAULT: folder / "chat_template.jinja"}
    extra = folder / "additional_chat_templates"
    files |= {file.stem: file for file in sorted(extra.glob("*.jinja"))}
    templates = {name: read_template(file) for name, file in files.items() if file.is_file()}
    if not templates:
        where = f'{folder / "tokenizer_config.json"}: "chat_template"'
        templates = _named(config.get("chat_template"), where)
    return ModelTemplates(templates, tokens)


def metadata_templates(metadata: Mapping[str, Any]) -> ModelTemplates:
    """The templates in a GGUF file's metadata, if any; its special tokens are the tokenizer's."""
    templates = {}
    for key, value in metadata.items():
        base, dot, name = key.partition(_METADATA_KEY)
        if base == "" and dot and name[:1] in ("", ".") and isinstance(value, str):
            templates[name.removeprefix(".") or DEFAULT] = value
    return ModelTemplates(templates)


def read_template(file: Path) -> str:
    """A template's source. Raises ChatTemplateError if the file cannot be read."""
    try:
        return file.read_bytes().decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChatTemplateError(f"{file}: expected a chat template, got {reason}") from None


def _read_object(file: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ChatTemplateError(
            f"{file}: expected JSON, could not read it ({error}); fetch the file again"
        ) from None
    if not isinstance(loaded, dict):
        raise ChatTemplateError(f"{file}: expected a JSON object, got {type(loaded).__name__}")
    return loaded


def _spelling(entry: Any) -> str | None:
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else None


def _named(entry: Any, where: str) -> dict[str, str]:
    if entry is None:
        return {}
    if isinstance(entry, str):
        return {DEFAULT: entry}
    match entry:
        case [*items] if all(
            isinstance(item, dict)
            and isinstance(item.get("name"), str)
            and isinstance(item.get("template"), str)
            for item in items
        ):
            return {item["name"]: item["template"] for item in items}
    raise ChatTemplateError(
        f'{where}: expected a template or a list of {{"name", "template"}}, got {entry!r:.80}'
    )
