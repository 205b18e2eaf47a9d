"""The few fields of a SentencePiece model file that its package does not tell; small models made.

The file is a protocol buffer, `ModelProto` of sentencepiece_model.proto; a field is a varint key
(number << 3 | wire type) and a value.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# ModelProto's fields, then those of its parts.
PIECE, TRAINER_SPEC, NORMALIZER_SPEC = 1, 2, 3
PIECE_KIND, NORMAL = 3, 1
UNK_SURFACE = 44
ADD_DUMMY_PREFIX, REMOVE_EXTRA_WHITESPACES = 3, 4
MODEL_TYPE, BYTE_FALLBACK = 3, 35
BPE_TYPE = 2


@dataclass(frozen=True)
class TextRules:
    """How a model changes whitespace when it encodes; the defaults are the format's."""

    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    unknown_surface: bytes = " \u2047 ".encode()


def read_text_rules(model: bytes) -> TextRules:
    """The whitespace rules of a model file. Raises `ValueError` if it is cut off."""
    flags = {ADD_DUMMY_PREFIX: True, REMOVE_EXTRA_WHITESPACES: True}
    unknown_surface = TextRules.unknown_surface
    for number, value in _fields(model):
        if number == TRAINER_SPEC and isinstance(value, bytes):
            for inner, surface in _fields(value):
                if inner == UNK_SURFACE and isinstance(surface, bytes):
                    unknown_surface = surface
        elif number == NORMALIZER_SPEC and isinstance(value, bytes):
            for inner, flag in _fields(value):
                if inner in flags and isinstance(flag, int):
                    flags[inner] = bool(flag)
    return TextRules(flags[ADD_DUMMY_PREFIX], flags[REMOVE_EXTRA_WHITESPACES], unknown_surface)


def read_kinds(model: bytes) -> list[int]:
    """What each piece is, as the format numbers it. Raises `ValueError` if the file is cut off."""
    kinds = []
    for number, value in _fields(model):
        if number == PIECE and isinstance(value, bytes):
            kind = next((k for inner, k in _fields(value) if inner == PIECE_KIND), NORMAL)
            kinds.append(kind if isinstance(kind, int) else NORMAL)
    return kinds


@dataclass(frozen=True)
class Piece:
    """A token of a model: its text, its score and what it is, as the format numbers it."""

    text: str
    score: float
    kind: int


def bpe_model(pieces: Iterable[Piece], *, byte_fallback: bool, add_dummy_prefix: bool) -> bytes:
    """A model file that merges by score and leaves all other whitespace as it is."""
    parts = []
    for piece in pieces:
        text = piece.text.encode()
        inner = b"\x0a" + _number(len(text)) + text + struct.pack("<Bf", 0x15, piece.score)
        inner += b"\x18" + _number(piece.kind)
        parts.append(b"\x0a" + _number(len(inner)) + inner)
    trainer = _flag(MODEL_TYPE, BPE_TYPE) + _flag(BYTE_FALLBACK, byte_fallback)
    normalizer = _flag(ADD_DUMMY_PREFIX, add_dummy_prefix) + _flag(REMOVE_EXTRA_WHITESPACES, 0)
    for number, message in ((TRAINER_SPEC, trainer), (NORMALIZER_SPEC, normalizer)):
        parts.append(_number(number << 3 | BYTES) + _number(len(message)) + message)
    return b"".join(parts)


def _flag(number: int, value: int) -> bytes:
    return _number(number << 3 | VARINT) + _number(value)


def _number(value: int) -> bytes:
    """A varint."""
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a message; fixed-width values are skipped."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, position = _varint(message, position)
            yield number, value
        elif wire == BYTES:
            length, position = _varint(message, position)
            if length > len(message) - position:
                raise ValueError("a field is cut off")
            yield number, message[position : position + length]
            position += length
        elif wire in (FIXED64, FIXED32):
            position += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} is not known")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("a number is cut off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is longer than 64 bits")
