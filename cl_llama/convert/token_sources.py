"""Reads a tokenizer's file of any kind as `Tokens`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import sentencepiece

from cl_llama.checkpoints.gguf_header import MAGIC, read_gguf_header
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.convert.pre_tokenizers import pre_tokenizer_name
from cl_llama.convert.tokens import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Tokens,
)
from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import Tokenizer
from cl_llama.tokenizers.hf_rules import byte_level_piece
from cl_llama.tokenizers.llama2c import (
    FIRST_BYTE_ID,
    FIRST_TEXT_ID,
    Llama2cTokenizer,
    read_vocabulary,
)
from cl_llama.tokenizers.sentencepiece import SPACE, SentencePieceTokenizer
from cl_llama.tokenizers.sentencepiece_proto import read_kinds, read_text_rules
from cl_llama.tokenizers.tiktoken import SPECIAL_NAMES, TiktokenTokenizer, read_ranks


def read_tokens(tokenizer: Tokenizer, path: Path) -> Tokens:
    """The tokens of a loaded tokenizer, from the file that it was loaded from.

    Raises TokenizerError for a kind that GGUF's two kinds cannot express.
    """
    with path.open("rb") as file:
        if file.read(4) == MAGIC:
            return _gguf(tokenizer, path)
    data = path.read_bytes()
    if isinstance(tokenizer, SentencePieceTokenizer):
        return _sentencepiece(tokenizer, data)
    if isinstance(tokenizer, Llama2cTokenizer):
        return _llama2c(data, path)
    if isinstance(tokenizer, TiktokenTokenizer):
        return _tiktoken(tokenizer, data, path)
    return _hf(tokenizer, json.loads(data), path)


def _gguf(tokenizer: Tokenizer, path: Path) -> Tokens:
    """What the file lists; the tokenizer made of it has checked that it makes sense."""
    file = MappedFile(path)
    try:
        metadata = read_gguf_header(file).metadata
        prefix = "tokenizer.ggml."
        kind: Literal["llama", "gpt2"] = "llama"
        if metadata[prefix + "model"] == "gpt2":
            kind = "gpt2"
        pieces = metadata[prefix + "tokens"].strings()
        types = metadata.get(prefix + "token_type")
        return Tokens(
            model=kind,
            pieces=pieces,
            types=[NORMAL] * len(pieces) if types is None else types.numbers().tolist(),
            scores=metadata[prefix + "scores"].numbers().tolist() if kind == "llama" else None,
            merges=metadata[prefix + "merges"].strings() if kind == "gpt2" else None,
            pre=metadata.get(prefix + "pre", "default"),
            unknown_id=metadata.get(prefix + "unknown_token_id"),
            bos_id=tokenizer.bos_id,
            end_ids=tokenizer.eos_ids,
            adds_bos=tokenizer.adds_bos,
            adds_space=metadata.get(prefix + "add_space_prefix", kind == "llama"),
            chat_template=metadata.get("tokenizer.chat_template"),
        )
    finally:
        file.close()


def _sentencepiece(tokenizer: SentencePieceTokenizer, data: bytes) -> Tokens:
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    ids = range(model.vocab_size())
    return Tokens(
        model="llama",
        pieces=[model.id_to_piece(i) for i in ids],
        types=read_kinds(data),
        scores=[model.get_score(i) for i in ids],
        unknown_id=model.unk_id(),
        bos_id=tokenizer.bos_id,
        end_ids=tokenizer.eos_ids,
        adds_space=read_text_rules(data).add_dummy_prefix,
    )


def _llama2c(data: bytes, path: Path) -> Tokens:
    tokens, scores = read_vocabulary(data, path)
    pieces = [token.decode(errors="replace").replace(" ", SPACE) for token in tokens]
    pieces[:FIRST_BYTE_ID] = ["<unk>", "<s>", "</s>"]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * (FIRST_TEXT_ID - FIRST_BYTE_ID)
    types += [NORMAL] * (len(tokens) - len(types))
    return Tokens(
        model="llama",
        pieces=pieces,
        types=types,
        scores=scores,
        unknown_id=0,
        bos_id=1,
        end_ids=(2,),
        adds_space=True,
    )


def _tiktoken(tokenizer: TiktokenTokenizer, data: bytes, path: Path) -> Tokens:
    ranks = {token: rank for rank, token in enumerate(read_ranks(data, path))}
    spelled = {token: byte_level_piece(token) for token in ranks}
    # tiktoken merges any two neighbours that are a token together, the lowest rank first.
    merges = [
        f"{spelled[token[:at]]} {spelled[token[at:]]}"
        for token in ranks
        for at in range(1, len(token))
        if token[:at] in ranks and token[at:] in ranks
    ]
    return Tokens(
        model="gpt2",
        pieces=[*spelled.values(), *SPECIAL_NAMES],
        types=[NORMAL] * len(ranks) + [CONTROL] * len(SPECIAL_NAMES),
        merges=merges,
        pre="llama-bpe",
        bos_id=tokenizer.bos_id,
        end_ids=tokenizer.eos_ids,
    )


def _hf(tokenizer: Tokenizer, file: Mapping[str, Any], path: Path) -> Tokens:
    model = file.get("model", {})
    if model.get("type", "BPE") != "BPE" or "merges" not in model:
        raise TokenizerError(
            f"{path}: GGUF holds BPE vocabularies, this one is {model.get('type')!r:.40}; convert "
            "without it by --no-tokenizer"
        )
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    pieces = [tokenizer.piece(i) for i in range(tokenizer.vocab_size)]
    added = {
        entry["id"]: CONTROL if entry.get("special") else USER_DEFINED
        for entry in file.get("added_tokens", ())
    }
    unknown = model.get("unk_token")
    unknown_id = pieces.index(unknown) if unknown in pieces else None
    shared: dict[str, Any] = {
        "pieces": [piece or f"[PAD{i}]" for i, piece in enumerate(pieces)],
        "unknown_id": unknown_id,
        "bos_id": tokenizer.bos_id,
        "end_ids": tokenizer.eos_ids,
        "adds_bos": tokenizer.adds_bos,
    }

    def kind(token_id: int, piece: str) -> int:
        if model.get("byte_fallback") and len(piece) == 6 and piece.startswith("<0x"):
            return BYTE
        if token_id == unknown_id:
            return UNKNOWN
        return added.get(token_id, NORMAL if piece else UNUSED)

    types = [kind(i, piece) for i, piece in enumerate(pieces)]
    if not model.get("byte_fallback"):
        pre = pre_tokenizer_name(file.get("pre_tokenizer"), path)
        return Tokens(model="gpt2", types=types, merges=merges, pre=pre, **shared)
    # SentencePiece merges the pair whose result has the highest score: the first merge's.
    order: dict[str, int] = {}
    for i, merge in enumerate(merges):
        order.setdefault(merge.replace(" ", ""), i)
    scores = [-float(order.get(piece, len(merges))) for piece in pieces]
    return Tokens(model="llama", types=types, scores=scores, adds_space=_adds_space(file), **shared)


def _adds_space(file: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text: a normalizer's "Prepend", or Metaspace's scheme."""
    normalizer, splitter = file.get("normalizer") or {}, file.get("pre_tokenizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    if any(step.get("type") == "Prepend" for step in steps):
        return True
    return splitter.get("type") == "Metaspace" and splitter.get("prepend_scheme") != "never"
