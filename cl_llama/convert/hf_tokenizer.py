"""The files of a Hugging Face folder that say how its text is cut into tokens."""

import json
from pathlib import Path
from typing import Any

from cl_llama.convert.pre_tokenizers import pre_tokenizer
from cl_llama.convert.tokens import BYTE, CONTROL, USER_DEFINED, Tokens
from cl_llama.tokenizers.sentencepiece_proto import Piece, bpe_model

_COPIED = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)


def copied_files(folder: Path) -> dict[str, bytes]:
    """The files of a Hugging Face folder's tokenizer by name, as they are."""
    return {name: (folder / name).read_bytes() for name in _COPIED if (folder / name).is_file()}


def tokenizer_files(tokens: Tokens, path: Path) -> dict[str, bytes]:
    """Files made of a vocabulary by name: a tokenizer.model or .json, and tokenizer_config.json.

    `path` is named in errors. Raises TokenizerError for a way to split text that is not known.
    """
    config: dict[str, Any] = {
        "add_bos_token": tokens.adds_bos,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    for key, token_id in (
        ("bos_token", tokens.bos_id),
        ("eos_token", next(iter(tokens.end_ids), None)),
        ("unk_token", tokens.unknown_id),
    ):
        if token_id is not None:
            config[key] = tokens.pieces[token_id]
    if tokens.chat_template is not None:
        config["chat_template"] = tokens.chat_template
    if tokens.scores is not None:
        config |= {"tokenizer_class": "LlamaTokenizer", "legacy": True}
        pieces = map(Piece, tokens.pieces, tokens.scores, tokens.types)
        model = bpe_model(
            pieces, byte_fallback=BYTE in tokens.types, add_dummy_prefix=tokens.adds_space
        )
        files = {"tokenizer.model": model}
    else:
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        files = {"tokenizer.json": _json(_byte_level(tokens, path))}
    return files | {"tokenizer_config.json": _json(config)}


def _byte_level(tokens: Tokens, path: Path) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": tokens.pieces[i],
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind == CONTROL,
            }
            for i, kind in enumerate(tokens.types)
            if kind in (CONTROL, USER_DEFINED)
        ],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer(tokens.pre, path),
        "post_processor": _bos_template(tokens),
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": tokens.pre == "llama-bpe",
            "vocab": {piece: i for i, piece in enumerate(tokens.pieces)},
            "merges": [merge.split(" ") for merge in tokens.merges or ()],
        },
    }


def _bos_template(tokens: Tokens) -> dict[str, Any] | None:
    if tokens.bos_id is None or not tokens.adds_bos:
        return None
    name = tokens.pieces[tokens.bos_id]
    bos = {"SpecialToken": {"id": name, "type_id": 0}}
    text, pair = ({"Sequence": {"id": part, "type_id": n}} for n, part in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [bos, text],
        "pair": [bos, text, pair],
        "special_tokens": {name: {"id": name, "ids": [tokens.bos_id], "tokens": [name]}},
    }


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"
