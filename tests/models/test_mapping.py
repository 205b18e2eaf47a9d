"""Float16 matrices that CPU devices compute with where their files lie in memory."""

import gc
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.checkpoints import open_checkpoint
from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.errors import CheckpointError
from cl_llama.llm import Llama
from cl_llama.models.batch import Batch
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.decoder import Decoder
from cl_llama.models.loading import load_model
from cl_llama.models.mapping import MappedMatrices
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Runtime
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES, NAMES, slice_of
from tools import make_random_model

CONVERTED = {
    *("f32-saved", "gpt2", "granite", "llama32-tied", "meta-llama31", "qwen25-tied"),
    *("gemma2", "smollm-tied-9-3"),
}
"""The fixtures in other formats than float16."""


@pytest.fixture
def host_runtime(runtime: Runtime) -> Runtime:
    if not runtime.computes_in_host_memory:
        pytest.skip("the device has a memory of its own")
    return runtime


def load(path: Path, runtime: Runtime, *, use_mmap: bool) -> Decoder:
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        return load_model(config, map_tensors(config, checkpoint), runtime, use_mmap=use_mmap)


def logits(model: Decoder, count: int) -> np.ndarray:
    """Of a prompt and one token after it."""
    ids = np.arange(count + 1, dtype=np.int32) * 5 % model.config.vocab_size
    table = np.arange(model.num_blocks, dtype=np.int32)
    prompt = fixture_models.forward(model, slice_of(ids[:count], 0, table, "all"))
    return np.concatenate(
        [prompt, fixture_models.forward(model, slice_of(ids[count:], count, table))]
    )


def mapped_names(path: Path, runtime: Runtime) -> tuple[set[str], set[str]]:
    """The matrices that are used in place, and the others."""
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        matrices = list(map_tensors(config, checkpoint).matrices())
        mapped = set(MappedMatrices(runtime, matrices).weights)
    return mapped, {tensor.name for tensor in matrices} - mapped


@pytest.mark.parametrize("name", NAMES)
def test_mapped_is_copied_bit_for_bit(host_runtime: Runtime, name: str) -> None:
    models = [load(FIXTURES / name, host_runtime, use_mmap=use) for use in (True, False)]
    mapped, copied = (logits(model, 19) for model in models)
    np.testing.assert_array_equal(mapped, copied)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_mapped(host_runtime: Runtime, name: str) -> None:
    mapped, copied = mapped_names(FIXTURES / name, host_runtime)
    if name in CONVERTED:
        assert not mapped
    elif name == "meta-llama2":  # its shards hold columns of these
        assert {part.split(".")[-2] for part in copied} == {"wo", "w2", "tok_embeddings"}
        assert {part.split(".")[-2] for part in mapped} == {"wq", "wk", "wv", "w1", "w3", "output"}
    elif name == "gpt2-untied":  # its other matrices are stored [in, out]
        assert {part.split(".")[-2] for part in mapped} == {"wte", "wpe", "lm_head"}
    else:
        assert not copied


def test_rows_in_several_files(host_runtime: Runtime) -> None:
    model = load(FIXTURES / "meta-llama2", host_runtime, use_mmap=True)
    output = model._weights.output
    assert [s.first_row for s in output.segments] == [0, output.rows // 2]
    assert output.segments[0].buffer is not output.segments[1].buffer


def write_shifted(source: Path, folder: Path, shift: int) -> Path:
    """A model whose header is longer, so that its values lie `shift` bytes behind a multiple."""
    shutil.copytree(source, folder)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padding = (shift - 8 - length) % 64
    header = (length + padding).to_bytes(8, "little") + content[8 : 8 + length] + b" " * padding
    path.write_bytes(header + content[8 + length :])
    return folder


@pytest.mark.parametrize("shift", [0, 2, 6, 62])
def test_every_even_offset(host_runtime: Runtime, tmp_path: Path, shift: int) -> None:
    path = write_shifted(FIXTURES / "mistral-window", tmp_path / "model", shift)
    assert not mapped_names(path, host_runtime)[1]
    expected = logits(load(FIXTURES / "mistral-window", host_runtime, use_mmap=False), 19)
    np.testing.assert_array_equal(logits(load(path, host_runtime, use_mmap=True), 19), expected)


@pytest.mark.parametrize("shift", [1, 63])
def test_an_odd_offset_is_copied(host_runtime: Runtime, tmp_path: Path, shift: int) -> None:
    path = write_shifted(FIXTURES / "mistral-window", tmp_path / "model", shift)
    assert not mapped_names(path, host_runtime)[0]
    expected = logits(load(FIXTURES / "mistral-window", host_runtime, use_mmap=False), 19)
    np.testing.assert_array_equal(logits(load(path, host_runtime, use_mmap=True), 19), expected)


@pytest.mark.parametrize("limit", [9_000, 12_000, 50_000])
def test_the_largest_allocation(host_runtime: Runtime, device: DeviceInfo, limit: int) -> None:
    """Matrices are split where they exceed it; no buffer does."""
    name = "llama2-mha"
    whole = load(FIXTURES / name, host_runtime, use_mmap=True)
    small_runtime = Runtime(replace(device, max_alloc_bytes=limit))
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
        model = load_model(config, tensors, small_runtime, max_seq_len=32)
        weights = MappedMatrices(small_runtime, tensors.matrices()).weights
    assert len(weights) == len(list(tensors.matrices()))
    segments = [segment for weight in weights.values() for segment in weight.segments]
    assert max(segment.buffer.size for segment in segments) <= limit
    assert (len(segments) > len(weights)) == (limit < 50_000)
    np.testing.assert_array_equal(logits(model, 5), logits(whole, 5))
    small_runtime.close()


def test_a_row_beyond_the_largest_allocation_is_left_out(
    host_runtime: Runtime, device: DeviceInfo
) -> None:
    small_runtime = Runtime(replace(device, max_alloc_bytes=ops.ALIGNMENT + 8))
    assert not mapped_names(FIXTURES / "llama2-mha", small_runtime)[0]
    small_runtime.close()


def test_two_models_of_one_file(device: DeviceInfo, tmp_path: Path) -> None:
    """Read-only, removed while both are in use; each goes on after the other is closed."""
    path = shutil.copytree(FIXTURES / "sharded", tmp_path / "model")
    for file in path.iterdir():
        file.chmod(0o400)
    first = Llama.from_pretrained(path, device=device.index)
    second = Llama.from_pretrained(path, device=device.index)
    ids = [3, 7, 11, 2]
    expected = first.logits(ids)
    np.testing.assert_array_equal(second.logits(ids), expected)
    first.close()
    del first
    gc.collect()
    shutil.rmtree(path)
    np.testing.assert_array_equal(second.logits(ids), expected)
    second.close()


def test_replaced_while_it_is_in_use(device: DeviceInfo, tmp_path: Path) -> None:
    path = shutil.copytree(FIXTURES / "llama3-gqa", tmp_path / "model")
    with Llama.from_pretrained(path, device=device.index) as llm:
        expected = llm.logits([1, 2, 3])
        (tmp_path / "other").write_bytes(bytes(1000))
        (tmp_path / "other").replace(path / "model.safetensors")
        np.testing.assert_array_equal(llm.logits([1, 2, 3]), expected)
    with pytest.raises(CheckpointError):
        Llama.from_pretrained(path, device=device.index)


def test_dropped_while_it_computes(host_runtime: Runtime) -> None:
    """The file stays mapped until the queue has read it."""
    for _ in range(20):
        model = load(FIXTURES / "sharded", host_runtime, use_mmap=True)
        ids = np.arange(60, dtype=np.int32)
        table = np.arange(model.num_blocks, dtype=np.int32)
        step = model.forward(Batch((slice_of(ids, 0, table, "all"),)))
        del model
        gc.collect()
        assert np.isfinite(step.numpy()).all()


def test_cut_short_before_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(100_000))
    file = MappedFile(path)
    file.populate(0, 100_000)
    with path.open("r+b") as opened:
        opened.truncate(50_000)
    file.populate(0, 50_000)
    with pytest.raises(CheckpointError, match=r"weights: bytes 60000 to 100000 cannot be read"):
        file.populate(60_000, 40_000)


_GROWTH = """
import gc
import sys
from pathlib import Path

from cl_llama.opencl.devices import select_device
from cl_llama.opencl.runtime import Runtime
from tests.models.test_mapping import load, logits


def anonymous_bytes():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


runtime = Runtime(select_device(int(sys.argv[1])), matrix_units=False)
logits(load(Path(sys.argv[2]), runtime, use_mmap=False), 3)  # compilers and threads have theirs
gc.collect()
before = anonymous_bytes()
model = load(Path(sys.argv[2]), runtime, use_mmap=sys.argv[3] == "True")
logits(model, 3)
print((anonymous_bytes() - before) / model.memory.weight_bytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory by Linux's means")
def test_no_copy_is_made(
    host_runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process holds of its own grows by the weights only where they are copied."""
    shape = replace(make_random_model.SHAPES["1b"], num_hidden_layers=1, vocab_size=1024)
    monkeypatch.setitem(make_random_model.SHAPES, "small", shape)
    path = tmp_path / "model"
    make_random_model.main(["small", str(path), "--max-seq-len", "32"])
    grown = {}
    for use_mmap in (True, False):
        # In a process of its own: what others let go of comes and goes.
        arguments = [str(host_runtime.device.index), str(path), str(use_mmap)]
        child = subprocess.run(
            [sys.executable, "-c", _GROWTH, *arguments],
            cwd=Path(__file__).resolve().parents[2],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        grown[use_mmap] = float(child.stdout)
    assert grown[True] < 0.1
    assert 0.9 < grown[False] < 1.1
