"""Damage at random places: an error of the project's own or a readable checkpoint, nothing else."""

import json
import random
import struct
import time

import numpy as np
import pytest
from checkpoint_files import (
    CONFIG,
    llama2c_bytes,
    meta_tensors,
    safetensors_bytes,
    torch_records,
    write_json,
    write_zip,
)

from cl_llama.checkpoints import open_checkpoint
from cl_llama.checkpoints.gguf_header import GgufArray
from cl_llama.errors import CheckpointError
from tests.gguf_writer import gguf_bytes

SECONDS = 1.0  # a format
TENSORS = meta_tensors(CONFIG | {"n_layers": 1})


def _survives(path):
    """Open and read all; true if the checkpoint was whole."""
    try:
        with open_checkpoint(path) as checkpoint:
            for value in checkpoint.config.values():
                if isinstance(value, GgufArray):
                    read = value.strings if value.dtype is None else value.numbers
                    assert len(read()) == value.count
            for tensor in checkpoint.tensors.values():
                assert tensor.read_rows(0, tensor.shape[0] if tensor.shape else 1).nbytes < 2**20
                tensor.release()
        return True
    except CheckpointError as error:
        assert str(error)
        return False


def _model(folder, kind):
    """A small model: the path to open and the file to damage."""
    write_json(folder / "config.json", {})
    write_json(folder / "params.json", {"dim": CONFIG["dim"]})
    if kind == "safetensors":
        path = folder / "model.safetensors"
        path.write_bytes(safetensors_bytes(TENSORS))
    elif kind == "pth":
        path = folder / "consolidated.00.pth"
        write_zip(path, torch_records(TENSORS))
    elif kind == "gguf":
        path = folder / "model.gguf"
        path.write_bytes(small_gguf())
    else:
        path = folder / "model.bin"
        config = CONFIG | {"n_layers": 1}
        path.write_bytes(llama2c_bytes(TENSORS, int(kind[-1]), config))
    assert _survives(path)
    return path


def small_gguf():
    """Values of every kind, tensors that fill their places to the last byte."""
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.rope.freq_base": 1e4,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.tokens": ["<unk>", "a", "é" * 20, ""],
        "tokenizer.ggml.scores": np.arange(4, dtype=np.float32),
    }
    tensors = {
        "a": ("f32", (2, 8), bytes(64)),
        "b": ("q8_0", (16, 32), bytes(544)),
        "c": ("f16", (16,), bytes(32)),
    }
    return gguf_bytes(metadata, tensors)


KINDS = ["safetensors", "pth", "gguf", "llama2c-0", "llama2c-1", "llama2c-2"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncation(tmp_path, kind):
    path = _model(tmp_path, kind)
    data = path.read_bytes()
    rng = random.Random(1)
    lengths = [*range(64), *range(len(data) - 64, len(data)), *rng.sample(range(len(data)), 100)]
    for length in lengths:
        path.write_bytes(data[:length])
        assert not _survives(path), f"{length} of {len(data)} bytes were taken for a model"


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes(tmp_path, kind):
    path = _model(tmp_path, kind)
    data = path.read_bytes()
    rng = random.Random(2)
    head = min(len(data), 3000)
    end = time.monotonic() + SECONDS
    for _ in range(1500):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 4))):
            where = rng.choice(
                (rng.randrange(head), -1 - rng.randrange(head), rng.randrange(len(data)))
            )
            damaged[where] = rng.choice((0, 0xFF, 0x80, damaged[where] ^ 1 << rng.randrange(8)))
        path.write_bytes(damaged)
        _survives(path)
        if time.monotonic() > end:
            break


def test_changed_pickles(tmp_path):
    """As flipped bytes, with a checksum that fits, so that the unpickler meets them."""
    path = _model(tmp_path, "pth")
    records = torch_records({"a": TENSORS["norm.weight"], "b": TENSORS["output.weight"]})
    rng = random.Random(3)
    end = time.monotonic() + SECONDS
    for _ in range(3000):
        damaged = bytearray(records["data.pkl"])
        for _ in range(rng.choice((1, 2, 8))):
            where = rng.randrange(len(damaged))
            match rng.randrange(3):
                case 0:
                    damaged[where] = rng.randrange(256)
                case 1:
                    del damaged[where : where + rng.randrange(1, 9)]
                    damaged = damaged or bytearray(b".")
                case 2:
                    other = rng.randrange(len(damaged))
                    damaged[where:where] = damaged[other : other + rng.randrange(1, 40)]
        write_zip(path, records | {"data.pkl": bytes(damaged)})
        _survives(path)
        if time.monotonic() > end:
            break


def _mutate(rng, value):
    """`value` with one thing in it replaced."""
    odd = (None, -1, 0, 2**64, 1e300, "x", [], {}, [[[]]], True, "F64", [0, 2**63], -(2**31))
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        return value | {key: _mutate(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        return [*value[:i], _mutate(rng, value[i]), *value[i + 1 :]]
    return rng.choice(odd)


def test_changed_headers(tmp_path):
    path = _model(tmp_path, "safetensors")
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    rng = random.Random(4)
    for _ in range(250):
        text = json.dumps(_mutate(rng, header)).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
        _survives(path)


def test_changed_indices(tmp_path):
    path = _model(tmp_path, "safetensors")
    path = path.rename(tmp_path / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(TENSORS, path.name)}
    rng = random.Random(5)
    for _ in range(300):
        write_json(tmp_path / "model.safetensors.index.json", _mutate(rng, index))
        _survives(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_random_llama2c_headers(tmp_path, version):
    path = _model(tmp_path, f"llama2c-{version}")
    data = path.read_bytes()
    start = 0 if version == 0 else 8
    rng = random.Random(6)
    for _ in range(250):
        numbers = list(struct.unpack_from("<7i", data, start))
        for _ in range(rng.randrange(1, 4)):
            numbers[rng.randrange(7)] = rng.choice((0, 1, -1, 2, 3, 2**31 - 1, -(2**31), 65536))
        damaged = bytearray(data)
        struct.pack_into("<7i", damaged, start, *numbers)
        path.write_bytes(damaged)
        _survives(path)
