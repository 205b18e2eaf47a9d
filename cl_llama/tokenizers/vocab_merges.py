"""GPT-2's own pair of files: vocab.json, the tokens' ids, and merges.txt, the byte pairs by rank.

They say nothing of how a text is divided before its bytes are merged: that is GPT-2's (Radford et
al., 2019). Other models with such files, as Qwen's, come with a tokenizer.json, too.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.hf import config_beside, load_hf
from cl_llama.tokenizers.protocol import Tokenizer

_END = "<|endoftext|>"
_BEGINNING = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\d')
_BYTE_LEVEL = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}


def is_vocabulary(data: bytes) -> bool:
    """Whether a file's content is a JSON object whose first value is a number, as an id is."""
    return _BEGINNING.match(data) is not None


def load_vocab_merges(data: bytes, path: Path) -> Tokenizer:
    """The tokenizer of a vocab.json's content and of the merges.txt beside it.

    tokenizer_config.json or special_tokens_map.json, where they exist, name the special tokens; one
    for <|endoftext|> is there anyway. Raises `TokenizerError` if a file is missing or damaged, or
    if tokenizer_config.json names another model's tokenizer.
    """
    config = config_beside(path)
    kind = config.get("tokenizer_class", "GPT2Tokenizer")
    if kind not in ("GPT2Tokenizer", "GPT2TokenizerFast"):
        raise TokenizerError(
            f"{path}: tokenizer_config.json beside it names {kind!r:.80}, and these two files alone"
            " make a GPT2Tokenizer; take the model's tokenizer.json"
        )
    vocabulary = _vocabulary(data, path)
    merges = _merges(path.with_name("merges.txt"), vocabulary)
    byte_level = _BYTE_LEVEL | {"add_prefix_space": config.get("add_prefix_space") is True}
    named = [_END, *(_content(config.get(f"{use}_token")) for use in ("bos", "eos", "unk", "pad"))]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content = {
        "version": "1.0",
        "added_tokens": [
            {"id": vocabulary[name], "content": name, "special": True, **flags}
            for name in dict.fromkeys(named)
            if name in vocabulary
        ],
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    return load_hf(json.dumps(content).encode(), path)


def _vocabulary(data: bytes, path: Path) -> dict[str, int]:
    try:
        vocabulary = json.loads(data)
        whole = all(type(token_id) is int for token_id in vocabulary.values())
    except (ValueError, AttributeError, RecursionError) as error:
        raise TokenizerError(
            f"{path}: expected a vocab.json, got a damaged one ({error}); fetch it again"
        ) from error
    if not whole:
        raise TokenizerError(f"{path}: expected an object of tokens and their ids; fetch it again")
    return dict(vocabulary)


def _merges(path: Path, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise TokenizerError(
            f"{path}: expected a list of merges, could not read it ({error}); it belongs beside"
            " vocab.json"
        ) from error
    merges = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2 or any(token not in vocabulary for token in (*pair, "".join(pair))):
            raise TokenizerError(
                f"{path}: line {number} is {line[:80]!r}; expected two tokens of vocab.json that"
                " make a third; fetch both files again"
            )
        merges.append((pair[0], pair[1]))
    return merges


def _content(entry: Any) -> Any:
    """A token's text, alone or as an object's "content"."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else None
