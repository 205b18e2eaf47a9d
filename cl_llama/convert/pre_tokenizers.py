"""llama.cpp's names of the ways in which a byte-level tokenizer.json splits text into words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_llama.errors import TokenizerError

_BY_DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = "gpt-2"
"""The pattern that ByteLevel itself has."""

# What a text is split by, in order: patterns, "digits" one by one, GPT-2's own pattern.
_NAMES = {
    (_BY_DIGITS % r"\p{N}{1,3}",): "llama-bpe",
    (_BY_DIGITS % r"\p{N}",): "qwen2",
    (_GPT2,): "gpt-2",
    ("digits", _GPT2): "smollm",
}


def pre_tokenizer_name(entry: Mapping[str, Any] | None, path: Path) -> str:
    """The name for tokenizer.json's "pre_tokenizer"; TokenizerError where none fits."""
    steps = [] if entry is None else entry.get("pretokenizers", [entry])
    found = []
    for step in steps:
        match step:
            case {"type": "Split", "pattern": {"Regex": str(pattern)}}:
                found.append(pattern)
            case {"type": "Digits", "individual_digits": True}:
                found.append("digits")
            case {"type": "ByteLevel", **options}:
                found += [_GPT2] if options.get("use_regex", True) else []
            case _:
                found.append(str(step.get("type")))
    name = _NAMES.get(tuple(found))
    if name is None:
        raise TokenizerError(
            f"{path}: no name is known for the way this tokenizer splits text, so GGUF cannot hold "
            "it; convert without it by --no-tokenizer"
        )
    return name


def pre_tokenizer(name: str, path: Path) -> dict[str, Any]:
    """tokenizer.json's "pre_tokenizer" for a name; TokenizerError where none is known."""
    for steps, known in _NAMES.items():
        if known == name:
            entries = [_entry(step) for step in steps]
            if _GPT2 not in steps:
                entries.append(_byte_level(use_regex=False))
            return {"type": "Sequence", "pretokenizers": entries}
    raise TokenizerError(
        f"{path}: splits text as {name!r:.80}, which is not written to a tokenizer.json; "
        f"{', '.join(_NAMES.values())} are; convert without it by --no-tokenizer"
    )


def _entry(step: str) -> dict[str, Any]:
    if step == "digits":
        return {"type": "Digits", "individual_digits": True}
    if step == _GPT2:
        return _byte_level(use_regex=True)
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    return split | {"pattern": {"Regex": step}}


def _byte_level(*, use_regex: bool) -> dict[str, Any]:
    options = {"add_prefix_space": False, "trim_offsets": False, "use_regex": use_regex}
    return {"type": "ByteLevel"} | options
