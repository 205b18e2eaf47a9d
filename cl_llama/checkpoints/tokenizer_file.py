"""Where a model's tokenizer lies.

Beside a Hugging Face model: `tokenizer.json`, `tokenizer.model`, `tokenizer.bin`, `vocab.json`, the
first found.
Beside a Meta model: `tokenizer.model`, `tokenizer.json`, `tokenizer.bin`, there or else one folder
up (LLaMA 1 has one tokenizer above the folders of its sizes). Beside a llama2.c file of vocabulary
size V: `tokV.model`, `tokV.bin`, `tokenizer.model`, `tokenizer.bin`, then the only `tok*.model`,
then the only `tok*.bin`.
"""

from collections.abc import Sequence
from pathlib import Path

_HF_NAMES = ("tokenizer.json", "tokenizer.model", "tokenizer.bin", "vocab.json")
_META_NAMES = ("tokenizer.model", "tokenizer.json", "tokenizer.bin")


def _first_file(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def hf_tokenizer(folder: Path) -> Path | None:
    """The tokenizer of the Hugging Face model in `folder`, if any."""
    return _first_file(folder, _HF_NAMES)


def meta_tokenizer(folder: Path) -> Path | None:
    """The tokenizer of the Meta model in `folder`, if any."""
    return _first_file(folder, _META_NAMES) or _first_file(folder.absolute().parent, _META_NAMES)


def llama2c_tokenizer(model: Path, vocab_size: int) -> Path | None:
    """The tokenizer of a llama2.c file, if any."""
    names = (f"tok{vocab_size}.model", f"tok{vocab_size}.bin", "tokenizer.model", "tokenizer.bin")
    found = _first_file(model.parent, names)
    for pattern in ("tok*.model", "tok*.bin"):
        if found is None:
            matches = [path for path in model.parent.glob(pattern) if path != model]
            found = matches[0] if len(matches) == 1 else None
    return found
