"""What the parts of a tokenizer.json say: the bytes of a piece, the BOS that is put in front."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_llama.tokenizers.streaming import LeadingSpace

SPACE = "▁"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True)
class ByteRules:
    """How a decoder turns pieces into text, where each piece stands for fixed bytes."""

    bytes_of: Callable[[str], bytes]
    leading: LeadingSpace


def byte_rules(decoder: Mapping[str, Any] | None) -> ByteRules | None:
    """The rules of the "decoder" entry; None for one that does not go by fixed bytes."""
    steps = _steps(decoder, "decoders")
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return ByteRules(byte_level_bytes, LeadingSpace.KEEP)
    if kinds == ["Metaspace"] and steps[0].get("replacement") == SPACE:
        never = steps[0].get("prepend_scheme", "always") == "never"
        return ByteRules(metaspace_bytes, LeadingSpace.KEEP if never else LeadingSpace.FIRST_TOKEN)
    if kinds[:3] == ["Replace", "ByteFallback", "Fuse"]:
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        replace = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
        if steps[0] == replace and steps[3:] in ([], [strip]):
            leading = LeadingSpace.ONE if steps[3:] else LeadingSpace.KEEP
            return ByteRules(byte_fallback_bytes, leading)
    return None


def template_bos(post_processor: Mapping[str, Any] | None) -> int | None:
    """The token that the "post_processor" entry puts before every text, if it does."""
    for step in _steps(post_processor, "processors"):
        match step:
            case {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": name}}, *_],
                "special_tokens": {**special},
            }:
                match special.get(name):
                    case {"ids": [int(token_id), *_]}:
                        return token_id
            case {"type": "BertProcessing" | "RobertaProcessing", "cls": [_, int(token_id)]}:
                return token_id
    return None


def byte_level_bytes(piece: str) -> bytes:
    """Bytes of a piece in GPT-2's byte alphabet; a piece with other characters is plain text."""
    try:
        return piece.translate(_BYTE_LEVEL).encode("latin-1")
    except UnicodeEncodeError:
        return piece.encode()


def byte_level_piece(data: bytes) -> str:
    """Bytes spelled in GPT-2's byte alphabet."""
    return "".join(_ALPHABET[byte] for byte in data)


def metaspace_bytes(piece: str) -> bytes:
    """Bytes of a SentencePiece piece in a vocabulary without byte tokens."""
    return piece.replace(SPACE, " ").encode()


def byte_fallback_bytes(piece: str) -> bytes:
    """Bytes of a SentencePiece piece in a vocabulary where <0xNN> stands for a byte."""
    match = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(match[1], 16)]) if match else metaspace_bytes(piece)


def _byte_level_table() -> dict[int, int]:
    """GPT-2's alphabet to bytes: printable Latin-1 stands for itself, U+0100 on for the others.

    The others' own code points are no letters of the alphabet; they go beyond Latin-1.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return dict.fromkeys(others, 0xFFFF) | {0x100 + i: byte for i, byte in enumerate(others)}


_BYTE_LEVEL = _byte_level_table()
_ALPHABET = {byte: chr(byte) for byte in range(256) if byte not in _BYTE_LEVEL}
_ALPHABET |= {byte: chr(code) for code, byte in _BYTE_LEVEL.items() if byte < 256}


def _steps(entry: Mapping[str, Any] | None, key: str) -> Sequence[Mapping[str, Any]]:
    """The steps of an entry that may be a "Sequence" of several."""
    if entry is None:
        return []
    return entry.get(key, []) if entry.get("type") == "Sequence" else [entry]
