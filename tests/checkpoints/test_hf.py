import json
import struct

import numpy as np
import pytest
from checkpoint_files import (
    check_tensors,
    safetensors_bytes,
    torch_records,
    write_hf,
    write_json,
    write_zip,
)
from safetensors.numpy import save_file

from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import CheckpointError

RNG = np.random.default_rng(1)
TENSORS = {
    "model.embed_tokens.weight": RNG.standard_normal((5, 4)).astype(np.float32),
    "model.norm.weight": RNG.standard_normal(3).astype(np.float32),
    "lm_head.weight": RNG.standard_normal((5, 4)).astype(np.float32),
}


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("shards", [1, 2])
def test_folder(tmp_path, dtype, shards):
    write_hf(tmp_path, TENSORS, dtype, shards)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": 2})
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    (tmp_path / "tokenizer.json").write_bytes(b"x")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.format == "hf"
        assert checkpoint.config == {"model_type": "llama"}
        assert checkpoint.generation_config == {"eos_token_id": 2}
        assert checkpoint.tokenizer_path == tmp_path / "tokenizer.json"
        check_tensors(checkpoint, TENSORS, dtype)


def test_file_of_the_safetensors_library(tmp_path):
    save_file({"a": np.arange(6, dtype=np.float16).reshape(2, 3)}, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {})
    with open_checkpoint(tmp_path) as checkpoint:
        check_tensors(checkpoint, {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, "f16")


def test_odd_header_length_gives_aligned_arrays(tmp_path):
    data = safetensors_bytes({"a": TENSORS["model.norm.weight"]}, "f32")
    (length,) = struct.unpack("<Q", data[:8])
    data = struct.pack("<Q", length + 1) + data[8 : 8 + length] + b" " + data[8 + length :]
    (tmp_path / "model.safetensors").write_bytes(data)
    write_json(tmp_path / "config.json", {})
    with open_checkpoint(tmp_path) as checkpoint:
        check_tensors(checkpoint, {"a": TENSORS["model.norm.weight"]}, "f32")


def test_special_values_survive_widening(tmp_path):
    bits = np.array([0x7F80, 0xFF80, 0x0001, 0x8000, 0x7FC1], np.uint32) << 16
    write_hf(tmp_path, {"a": bits.view(np.float32)}, "bf16")
    with open_checkpoint(tmp_path) as checkpoint:
        got = checkpoint.tensors["a"].read_rows(0, 5)
    np.testing.assert_array_equal(got.view(np.uint32), bits)


def test_empty_tensor_and_scalar(tmp_path):
    write_hf(tmp_path, {"scalar": np.array(2.5, np.float32), "empty": np.zeros((0, 3))}, "f32")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensors["scalar"].read_rows(0, 1) == 2.5
        assert checkpoint.tensors["empty"].read_rows(0, 0).shape == (0, 3)


def test_single_file(tmp_path):
    write_hf(tmp_path, TENSORS)
    (tmp_path / "other.safetensors").write_bytes(b"damaged, but not looked at")
    with open_checkpoint(tmp_path / "model.safetensors") as checkpoint:
        check_tensors(checkpoint, TENSORS, "f16")
    with open_checkpoint(tmp_path) as checkpoint:  # model.safetensors comes first
        check_tensors(checkpoint, TENSORS, "f16")


def test_one_shard_opens_all(tmp_path):
    write_hf(tmp_path, TENSORS, shards=2)
    with open_checkpoint(tmp_path / "model-00002-of-00002.safetensors") as checkpoint:
        check_tensors(checkpoint, TENSORS, "f16")


def test_folder_without_index(tmp_path):
    write_hf(tmp_path, TENSORS, shards=3)
    (tmp_path / "model.safetensors.index.json").unlink()
    with open_checkpoint(tmp_path) as checkpoint:
        check_tensors(checkpoint, TENSORS, "f16")


def test_name_in_two_files(tmp_path):
    write_hf(tmp_path, TENSORS, shards=2)
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / "copy.safetensors").write_bytes(safetensors_bytes(TENSORS))
    with pytest.raises(CheckpointError, match="and in another file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("shards", [1, 2])
def test_pytorch_folder(tmp_path, shards):
    write_json(tmp_path / "config.json", {})
    names = ["pytorch_model.bin"]
    if shards == 2:
        names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    parts = [dict(list(TENSORS.items())[i::shards]) for i in range(shards)]
    weight_map = {}
    for name, part in zip(names, parts, strict=True):
        write_zip(tmp_path / name, torch_records(part, "bf16"), "archive")
        weight_map |= dict.fromkeys(part, name)
    if shards == 2:
        write_json(tmp_path / "pytorch_model.bin.index.json", {"weight_map": weight_map})
    for path in (tmp_path, tmp_path / names[-1]):
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.format == "hf"
            check_tensors(checkpoint, TENSORS, "bf16")


def test_param_path(tmp_path):
    write_hf(tmp_path / "model", TENSORS)
    write_json(tmp_path / "mine.json", {"mine": 1})
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        open_checkpoint(tmp_path / "model")
    with open_checkpoint(tmp_path / "model", param_path=tmp_path / "mine.json") as checkpoint:
        assert checkpoint.config == {"mine": 1}
    with pytest.raises(CheckpointError, match=r"none\.json: no such file"):
        open_checkpoint(tmp_path / "model", param_path=tmp_path / "none.json")
    with pytest.raises(CheckpointError, match="got a folder"):
        open_checkpoint(tmp_path / "model", param_path=tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[1]", "expected a JSON object, got list"),
        (b"", "not valid JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": NaN}', "NaN is not a finite number"),
        (b'{"a": -Infinity}', "-Infinity is not a finite"),
        (b'{"a": 1e999}', "1e999 is not a finite"),
        (b'{"a": 1, "a": 2}', "'a' stands there twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_damaged_config(tmp_path, name, text, message):
    write_hf(tmp_path, TENSORS)
    (tmp_path / name).write_bytes(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({}, "no weight_map"),
        ([], "no weight_map"),
        ({"lm_head.weight": 7}, "7 for tensor"),
        ({"lm_head.weight": ""}, "not the name of a file"),
        ({"lm_head.weight": "../outside.safetensors"}, "not the name of a file"),
        ({"lm_head.weight": "/etc/passwd"}, "not the name of a file"),
        ({"lm_head.weight": "..\\outside.safetensors"}, "not the name of a file"),
        ({"lm_head.weight": "C:outside.safetensors"}, "not the name of a file"),
        ({"lm_head.weight": "a\0b"}, "not the name of a file"),
        ({"lm_head.weight": "."}, "not the name of a file"),
        ({"lm_head.weight": "gone.safetensors"}, r"gone\.safetensors: no such file"),
        ({"other": "model-00001-of-00002.safetensors"}, "'other' is not in it"),
    ],
)
def test_damaged_index(tmp_path, weight_map, message):
    write_hf(tmp_path / "model", TENSORS, shards=2)
    (tmp_path / "outside.safetensors").write_bytes(safetensors_bytes(TENSORS))
    write_json(tmp_path / "model" / "model.safetensors.index.json", {"weight_map": weight_map})
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path / "model")


def _entry(**changes):
    return {"t": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]} | changes}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "expected a JSON object"),
        ({"t": 5}, "expected dtype, shape and data_offsets"),
        (_entry(dtype="I8"), "tensor 't' has dtype 'I8'"),
        (_entry(dtype=None), "has dtype None"),
        (_entry(shape=[2, -3]), "is not a shape"),
        (_entry(shape=[2, True]), "is not a shape"),
        (_entry(shape=[2.0, 3]), "is not a shape"),
        (_entry(shape="23"), "is not a shape"),
        (_entry(shape=[2**62, 2**62]), "needs .* bytes"),
        (_entry(shape=[10**400]), "is not a shape"),
        (_entry(shape=[1] * 33), "is not a shape"),
        (_entry(data_offsets=[0]), "expected two offsets"),
        (_entry(data_offsets=[12, 0]), "needs 12 bytes, its offsets span -12"),
        (_entry(data_offsets=[-4, 8]), "expected two offsets"),
        (_entry(data_offsets=[2, 14]), "truncated"),
        (_entry(shape=[2, 2], data_offsets=[4, 12]), "follows a gap"),
        (_entry(shape=[2, 2], data_offsets=[0, 8]), "end at byte"),
        (_entry() | {"u": _entry()["t"]}, "overlaps"),
        ({}, "end at byte"),
    ],
)
def test_damaged_header(tmp_path, header, message):
    write_hf(tmp_path, TENSORS)
    data = safetensors_bytes({"t": np.zeros((2, 3))}, "f16", header)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(tmp_path)
    assert "model.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_duplicate_name_in_a_header(tmp_path):
    entry = json.dumps(_entry()["t"])
    text = f'{{"t": {entry}, "t": {entry}}}'.encode()
    data = struct.pack("<Q", len(text)) + text + bytes(12)
    write_hf(tmp_path, TENSORS)
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="'t' stands there twice"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("length", [9, 2**31, 2**63, 2**64 - 1])
def test_header_length_beyond_the_file(tmp_path, length):
    write_hf(tmp_path, TENSORS)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}      ")
    with pytest.raises(CheckpointError, match="its header claims"):
        open_checkpoint(tmp_path)
