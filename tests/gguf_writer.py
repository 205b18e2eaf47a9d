"""Small GGUF files, written from the format's definition."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cl_llama.blocks import GGUF_TYPES

Stored: TypeAlias = tuple[str, tuple[int, ...], bytes]
"""A tensor's format, shape with the rows first, and bytes."""

TYPE_NUMBERS = {name: number for number, name in GGUF_TYPES.items()}


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def metadata_value(value: Any) -> bytes:
    """The type and the bytes of a value; whole numbers are u32, numbers f32."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, np.ndarray):
        kind = {"uint32": 4, "int32": 5, "float32": 6, "bool": 7}[value.dtype.name]
        return struct.pack("<IIQ", 9, kind, value.size) + value.tobytes()
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))


def gguf_bytes(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Stored] | None = None,
    *,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A file with these entries and tensors, which lie one after another in their order."""
    tensors = tensors or {}
    entries = dict(metadata)
    if alignment != 32:
        entries["general.alignment"] = alignment
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(entries))
    head += b"".join(text(key) + metadata_value(value) for key, value in entries.items())
    data = b""
    for name, (form, shape, stored) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head += struct.pack("<IQ", TYPE_NUMBERS[form], len(data))
        data += stored + bytes(-len(stored) % alignment)
    return head + bytes(-len(head) % alignment) + data if tensors else head


def write_gguf(path: Path, *args: Any, **options: Any) -> Path:
    path.write_bytes(gguf_bytes(*args, **options))
    return path


def as_gguf(tensors: Mapping[str, np.ndarray]) -> dict[str, Stored]:
    """Arrays of float32 or float16 as tensors of such a file."""
    forms = {"float32": "f32", "float16": "f16"}
    return {name: (forms[a.dtype.name], a.shape, a.tobytes()) for name, a in tensors.items()}


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k, or their bias, from pairs (i, i + K/2) to pairs (2i, 2i + 1)."""
    half = len(values) // heads // 2
    return values.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(values.shape)
