import struct

import numpy as np
import pytest
from checkpoint_files import (
    CONFIG,
    check_tensors,
    int8_groups,
    llama2c_bytes,
    meta_tensors,
    write_llama2c,
)

from cl_llama.blocks import dequantize
from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import CheckpointError


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("tied", [True, False])
def test_layouts(tmp_path, version, tied):
    tensors = meta_tensors(tied=tied)
    path = write_llama2c(tmp_path / "model.bin", tensors, version)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "llama2c"
        assert checkpoint.config == CONFIG | {"norm_eps": 1e-5, "tied": tied}
        assert checkpoint.generation_config == {}
        assert checkpoint.tokenizer_path is None
        check_tensors(checkpoint, tensors, "f32")


@pytest.mark.parametrize(
    ("columns", "group", "form"),
    [
        (64, 64, "q8_0"),
        (96, 64, "q8_0"),  # a group reaches into the next row
        (64, 32, "q8_0"),
        (64, 16, "f32"),
        (48, 32, "f32"),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_int8_groups(tmp_path, columns, group, form, tied):
    config = CONFIG | {"dim": columns, "hidden_dim": columns, "vocab_size": 34}
    tensors = meta_tensors(config, tied=tied)
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_bytes(tensors, 2, config, group=group))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.config == config | {"norm_eps": 1e-5, "tied": tied}
        assert sorted(checkpoint.tensors) == sorted(tensors)
        for name, values in tensors.items():
            tensor = checkpoint.tensors[name]
            assert tensor.shape == values.shape
            if values.ndim == 1:
                assert tensor.format == "f32"
                np.testing.assert_array_equal(tensor.read_rows(0, columns), values)
                continue
            assert tensor.format == form
            q, scales = int8_groups(values, group)
            if form == "q8_0":
                scales = scales.astype(np.float16).astype(np.float32)
            want = (q * scales[:, None]).reshape(values.shape)
            rows = len(values)
            for start, stop in ((0, rows), (1, rows - 1), (rows // 2, rows // 2 + 1), (1, 1)):
                np.testing.assert_array_equal(tensor.read_rows(start, stop), want[start:stop])
                if form == "q8_0":
                    blocks = tensor.read_blocks(start, stop)
                    np.testing.assert_array_equal(dequantize(form, blocks), want[start:stop])
            tensor.release()


def test_int8_group_of_a_scale_beyond_float16(tmp_path):
    config = CONFIG | {"dim": 64, "hidden_dim": 64}
    tensors = meta_tensors(config)
    tensors["layers.1.attention.wq.weight"][3, 5] = 1e7
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_bytes(tensors, 2, config, group=64))
    with open_checkpoint(path) as checkpoint:
        tensor = checkpoint.tensors["layers.1.attention.wq.weight"]
        tensor.read_rows(0, 3)
        with pytest.raises(CheckpointError, match=r"layers\.1\.attention\.wq\.weight has a scale"):
            tensor.read_rows(0, 4)


def test_real_file(shared_data):
    with open_checkpoint(shared_data("stories260K.bin")) as checkpoint:
        assert checkpoint.config["dim"] == 64 and checkpoint.config["tied"]
        assert len(checkpoint.tensors) == 2 + 5 * 9
        assert checkpoint.tokenizer_path.name == "tok512.model"
        for tensor in checkpoint.tensors.values():
            values = tensor.read_rows(0, tensor.shape[0])
            assert np.isfinite(values).all() and np.abs(values).max() < 20
        norm = checkpoint.tensors["layers.0.attention_norm.weight"]
        assert norm.read_rows(0, 64).min() > 0  # a misread layout has weights of both signs here


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["tokenizer.bin", "tok20.bin", "tok20.model"], "tok20.model"),
        (["tokenizer.bin", "tok20.bin"], "tok20.bin"),
        (["tokenizer.bin", "tokenizer.model"], "tokenizer.model"),
        (["tok99.bin", "tok99.model"], "tok99.model"),
        (["tok98.model", "tok99.model", "tok99.bin"], "tok99.bin"),
        (["tok98.bin", "tok99.bin"], None),
    ],
)
def test_tokenizer_beside_it(tmp_path, names, expected):
    path = write_llama2c(tmp_path / "model.bin", meta_tensors())
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    with open_checkpoint(path) as checkpoint:
        found = checkpoint.tokenizer_path
        assert (found and found.name) == expected


def _with_number(position, value):
    data = bytearray(llama2c_bytes(meta_tensors(), 0))
    data[4 * position : 4 * position + 4] = struct.pack("<i", value)
    return bytes(data)


def _with_group(group):
    data = bytearray(llama2c_bytes(meta_tensors(), 2))
    data[37:41] = struct.pack("<i", group)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (llama2c_bytes(meta_tensors(), 3), "version 3 .* not supported"),
        (llama2c_bytes(meta_tensors(), -7), "version -7 .* not supported"),
        (llama2c_bytes(meta_tensors(), 1, flags=2), "shared embeddings is 2"),
        (llama2c_bytes(meta_tensors(), 2)[:-4], "is truncated or of another format"),
        (_with_group(0), "group size is 0"),
        (_with_group(-8), "group size is -8"),
        (_with_group(12), r"group size is 12, no divisor of .* tok_embeddings \(20, 16\)"),
        (_with_group(2**31 - 1), "group size is 2147483647"),
        (b"", "empty"),
        (b"short", "too few"),
        (b"\x40\0\0\0", "too few"),
        (_with_number(0, -16), "dim is -16"),
        (_with_number(2, 0), "n_layers is 0"),
        (_with_number(2, 2**31 - 1), "n_layers 2147483647"),
        (_with_number(5, -(2**31)), "vocab_size 2147483648"),
        (_with_number(3, 3), "do not divide"),
        (_with_number(4, 3), "do not divide"),
        (_with_number(6, 9), "is truncated or of another format"),
        (llama2c_bytes(meta_tensors())[:-4], "is truncated or of another format"),
        (llama2c_bytes(meta_tensors()) + b"\0", "is truncated or of another format"),
    ],
)
def test_damage(tmp_path, data, message):
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_param_path_is_refused(tmp_path):
    path = write_llama2c(tmp_path / "model.bin", meta_tensors())
    with pytest.raises(CheckpointError, match="carries its parameters"):
        open_checkpoint(path, param_path=tmp_path / "params.json")
