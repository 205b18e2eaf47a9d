import mmap
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import meta_tensors, write_hf, write_llama2c, write_meta

from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import CheckpointError
from tests.gguf_writer import as_gguf, write_gguf


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no model in this folder"),
        (["notes.txt"], "no model in this folder"),
        (["model.gguf"], r"model\.gguf: expected a GGUF file"),
        (["stories.bin"], "name the llama2.c .bin file itself"),
        (["lora.pth"], "name the .pth file itself"),
    ],
)
def test_folder_without_a_model(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_missing_path(tmp_path):
    with pytest.raises(CheckpointError, match="no such file or folder"):
        open_checkpoint(tmp_path / "none")
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(CheckpointError, match=r"cannot be read|no such file"):
            open_checkpoint(name)


def test_path_may_be_text_and_relative(tmp_path, monkeypatch):
    write_hf(tmp_path / "model", {"a": np.zeros(2)})
    monkeypatch.chdir(tmp_path)
    for path in ("model", Path("model/model.safetensors")):
        with open_checkpoint(path) as checkpoint:
            assert list(checkpoint.tensors) == ["a"]


@pytest.mark.parametrize("kind", ["hf", "gguf", "meta", "unzipped", "llama2c"])
def test_reading_after_close_is_an_error(tmp_path, kind):
    tensors = meta_tensors()
    if kind == "llama2c":
        path = write_llama2c(tmp_path / "model.bin", tensors)
    elif kind == "gguf":
        path = write_gguf(tmp_path / "model.gguf", {}, as_gguf(tensors))
    elif kind == "hf":
        path = write_hf(tmp_path, tensors)
    else:
        path = write_meta(tmp_path, tensors, shards=2, unzipped=kind == "unzipped")
    checkpoint = open_checkpoint(path)
    tensor = checkpoint.tensors["tok_embeddings.weight"]
    view = tensor.read_rows(0, 2)
    before = view.copy()
    checkpoint.close()
    np.testing.assert_array_equal(view, before)  # what was read stays valid
    with pytest.raises(CheckpointError, match="is closed"):
        tensor.read_rows(0, 2)
    tensor.release()
    checkpoint.close()


def test_rows_out_of_range(tmp_path):
    with open_checkpoint(write_hf(tmp_path, {"a": np.zeros((3, 2))})) as checkpoint:
        for start, stop in ((-1, 2), (0, 4), (2, 1)):
            with pytest.raises(IndexError, match="of 3"):
                checkpoint.tensors["a"].read_rows(start, stop)


def test_arrays_cannot_be_written(tmp_path):
    with open_checkpoint(write_hf(tmp_path, {"a": np.zeros((3, 2))})) as checkpoint:
        rows = checkpoint.tensors["a"].read_rows(0, 3)
        assert not rows.flags.writeable
        del rows


def _resident_bytes(path):
    """Resident bytes of the maps of one file."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists() or not hasattr(mmap, "MADV_DONTNEED"),
    reason="the system does not say which pages are resident",
)
def test_release_drops_resident_pages(tmp_path):
    values = np.ones((2048, 1024), np.float32)
    write_hf(tmp_path, {"a": values, "b": values}, "f32")
    with open_checkpoint(tmp_path) as checkpoint:
        path = tmp_path / "model.safetensors"
        for tensor in checkpoint.tensors.values():
            tensor.read_rows(0, 2048).sum()
            assert _resident_bytes(path) >= values.nbytes
            tensor.release()
            assert _resident_bytes(path) < 2**20
