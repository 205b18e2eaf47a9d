"""llama2.c's `.bin` files: legacy, version 1 (float32) and version 2 (int8), with Meta's names.

The layouts are those of `export.py` in https://github.com/karpathy/llama2.c.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any

from cl_llama.checkpoints.grouped import grouped_bytes, grouped_matrix
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import HostTensor, MappedTensor
from cl_llama.errors import CheckpointError

_MAGIC = 0x616B3432  # "ak42"
_HEADER_BYTES = 256
_DIMENSIONS = (
    "dim",
    "hidden_dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "vocab_size",
    "max_seq_len",
)
_NORM_EPS = 1e-5  # fixed in llama2.c

_Piece = tuple[str | None, tuple[int, ...]]
"""A tensor's name (None: bytes to skip) and shape."""


def read_llama2c(file: MappedFile) -> tuple[dict[str, Any], dict[str, HostTensor]]:
    """The configuration, under Meta's names and with `tied`, and the tensors of a `.bin` file.

    Raises CheckpointError for a header that makes no sense, a file of another length than its
    header asks for, and unknown versions.
    """
    if file.size < 28:
        raise CheckpointError(f"{file.path}: {file.size} bytes are too few for a llama2.c file")
    magic, version = struct.unpack("<Ii", file.read(0, 8))
    legacy = magic != _MAGIC
    group = None
    if legacy:
        numbers = struct.unpack("<7i", file.read(0, 28))
        tied = numbers[5] > 0  # a negative vocabulary size marks an output matrix of its own
        numbers = (*numbers[:5], abs(numbers[5]), numbers[6])
        start = 28
    elif version in (1, 2):
        numbers = struct.unpack("<7i", file.read(8, 28))
        flag = file.read(36, 1)[0]
        if flag > 1:
            raise CheckpointError(
                f"{file.path}: the flag for shared embeddings is {flag}, expected 0 or 1"
            )
        tied = flag == 1
        if version == 2:
            group = struct.unpack("<i", file.read(37, 4))[0]
        start = _HEADER_BYTES
    else:
        raise CheckpointError(
            f"{file.path}: version {version} of llama2.c's format is not supported; export the"
            " model as version 0, 1 (float32) or 2 (int8)"
        )
    config: dict[str, Any] = dict(zip(_DIMENSIONS, numbers, strict=True))
    _check_dimensions(file, config)
    if group is not None:
        _check_group(file, config, group)
    expected = start + _count_bytes(config, tied, group, legacy=legacy)
    if expected != file.size:
        raise CheckpointError(
            f"{file.path}: a llama2.c file of this header ("
            + ", ".join(f"{key} {config[key]}" for key in _DIMENSIONS)
            + f") has {expected} bytes, got {file.size}; it is truncated or of another format"
        )
    pieces = _legacy_pieces(config, tied) if legacy else _later_pieces(config, tied)
    tensors: dict[str, HostTensor] = {}
    offset = start
    for name, shape in pieces:
        if group is not None and len(shape) == 2 and name is not None:
            tensors[name] = grouped_matrix(name, shape, file, offset, group)
            offset += tensors[name].nbytes
            continue
        if name is not None:
            tensors[name] = MappedTensor(name, shape, "f32", file, offset)
        offset += 4 * math.prod(shape)
    config.update(norm_eps=_NORM_EPS, tied=tied)
    return config, tensors


def _check_dimensions(file: MappedFile, config: dict[str, Any]) -> None:
    for key in _DIMENSIONS:
        if config[key] <= 0:
            raise CheckpointError(
                f"{file.path}: {key} is {config[key]} in the header; no llama2.c file, or damaged"
            )
    heads, kv_heads = config["n_heads"], config["n_kv_heads"]
    if config["dim"] % heads or config["dim"] // heads % 2 or heads % kv_heads:
        raise CheckpointError(
            f"{file.path}: dim {config['dim']}, n_heads {heads} and n_kv_heads {kv_heads} do not"
            " divide each other; no llama2.c file, or damaged"
        )


def _check_group(file: MappedFile, config: dict[str, Any], group: int) -> None:
    """Every matrix is a whole number of groups."""
    V, D = config["vocab_size"], config["dim"]
    for name, shape in {"tok_embeddings": (V, D), **_layer_shapes(config)}.items():
        if group <= 0 or (len(shape) == 2 and math.prod(shape) % group):
            raise CheckpointError(
                f"{file.path}: the header's group size is {group}, no divisor of the size of"
                f" {name} {shape}; damaged file?"
            )


def _count_bytes(config: dict[str, Any], tied: bool, group: int | None, *, legacy: bool) -> int:
    """How many bytes follow the header."""
    D, F, V = config["dim"], config["hidden_dim"], config["vocab_size"]
    L, K = config["n_layers"], D // config["n_heads"]
    matrices = L * (2 * D * D + 2 * D * K * config["n_kv_heads"] + 3 * D * F)
    matrices += V * D * (1 if tied else 2)
    vectors = L * 2 * D + D + (config["max_seq_len"] * K if legacy else 0)
    return int(4 * vectors + (4 * matrices if group is None else grouped_bytes(matrices, group)))


def _layer_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    D, F = config["dim"], config["hidden_dim"]
    kv = D // config["n_heads"] * config["n_kv_heads"]
    return {
        "attention_norm": (D,),
        "ffn_norm": (D,),
        "attention.wq": (D, D),
        "attention.wk": (kv, D),
        "attention.wv": (kv, D),
        "attention.wo": (D, D),
        "feed_forward.w1": (F, D),
        "feed_forward.w2": (D, F),
        "feed_forward.w3": (F, D),
    }


def _all_layers(config: dict[str, Any], *kinds: str) -> Iterator[_Piece]:
    """Each kind of tensor in turn, for all layers."""
    shapes = _layer_shapes(config)
    for kind in kinds:
        for layer in range(config["n_layers"]):
            yield f"layers.{layer}.{kind}.weight", shapes[kind]


def _legacy_pieces(config: dict[str, Any], tied: bool) -> Iterator[_Piece]:
    D, V = config["dim"], config["vocab_size"]
    yield "tok_embeddings.weight", (V, D)
    yield from _all_layers(
        config, "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo"
    )
    yield from _all_layers(
        config, "ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3"
    )
    yield "norm.weight", (D,)
    yield None, (config["max_seq_len"], D // config["n_heads"])  # rotary cosines and sines
    if not tied:
        yield "output.weight", (V, D)


def _later_pieces(config: dict[str, Any], tied: bool) -> Iterator[_Piece]:
    """Of versions 1 and 2."""
    D, V = config["dim"], config["vocab_size"]
    yield from _all_layers(config, "attention_norm", "ffn_norm")
    yield "norm.weight", (D,)
    yield "tok_embeddings.weight", (V, D)
    yield from _all_layers(config, "attention.wq", "attention.wk", "attention.wv", "attention.wo")
    yield from _all_layers(config, "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
    if not tied:
        yield "output.weight", (V, D)
