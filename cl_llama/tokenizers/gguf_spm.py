"""SentencePiece vocabularies in GGUF files: made into a model of that package again.

Text is not normalised, as llama.cpp does not either; the pieces' scores decide which neighbours
merge, bytes stand for what no piece covers.
"""

import math
import re

from cl_llama.tokenizers.gguf import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    GgufVocabulary,
)
from cl_llama.tokenizers.sentencepiece import SPACE, SentencePieceTokenizer
from cl_llama.tokenizers.sentencepiece_proto import Piece, bpe_model

_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def load_gguf_spm(vocabulary: GgufVocabulary) -> SentencePieceTokenizer:
    """The tokenizer of a "llama" vocabulary; raises `TokenizerError` if it is damaged."""
    scores = vocabulary.numbers("scores", "f")
    if not all(map(math.isfinite, scores)):
        raise vocabulary.error("a token's score is not finite")
    ends = vocabulary.ends(bos_id=1, eos_id=2, adds_bos=True)
    types = _types(vocabulary, (ends.bos_id, *ends.eos_ids))
    pieces = []
    seen: set[str] = set()
    for token_id, (text, score, kind) in enumerate(
        zip(vocabulary.pieces, scores, types, strict=True)
    ):
        spelled = text.replace(" ", SPACE)
        if spelled in seen or not spelled or "\0" in spelled:
            # The package takes no two alike; a text that no one types keeps the id's place.
            spelled, kind = f"\ue000{token_id}\ue000", UNUSED
        seen.add(spelled)
        pieces.append(Piece(spelled, score, kind))
    data = bpe_model(
        pieces,
        byte_fallback=BYTE in types,
        add_dummy_prefix=vocabulary.flag("add_space_prefix", True),
    )
    return SentencePieceTokenizer(data, vocabulary.path, ends)


def _types(vocabulary: GgufVocabulary, special: tuple[int | None, ...]) -> list[int]:
    """What each token is; SentencePiece wants exactly one unknown token."""
    unknown = vocabulary.token_id("unknown_token_id", 0) or 0
    if vocabulary.types is None:
        return [
            UNKNOWN
            if token_id == unknown
            else CONTROL
            if token_id in special
            else BYTE
            if _BYTE_PIECE.fullmatch(piece)
            else NORMAL
            for token_id, piece in enumerate(vocabulary.pieces)
        ]
    types = [
        kind if kind in (CONTROL, USER_DEFINED, BYTE, UNUSED) else NORMAL
        for kind in vocabulary.types
    ]
    if vocabulary.types[unknown] != UNKNOWN and UNKNOWN in vocabulary.types:
        unknown = vocabulary.types.index(UNKNOWN)
    types[unknown] = UNKNOWN
    return types
