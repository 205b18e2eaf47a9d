"""The kernels that a model will need are known, and built, before it runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.batch import Batch
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.quantization import choose_formats
from cl_llama.models.rehearsal import distinct_layers, kernels_of
from cl_llama.models.weights import map_tensors
from cl_llama.opencl import prebuild, programs
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.prebuild import Program, building_kernels
from cl_llama.opencl.runtime import Family, Runtime
from tests.checkpoints.checkpoint_files import llama2c_bytes, meta_tensors
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES, slice_of

BLOCK_CONFIG = {
    "dim": 256,
    "hidden_dim": 288,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 90,
    "max_seq_len": 64,
}


def expected_programs(name: str, runtime: Runtime, family: Family | None = None) -> list[Program]:
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        return kernels_of(config, map_tensors(config, checkpoint), runtime, family, "high")


@pytest.mark.parametrize("name", ["qwen3-qk-norm", "llama-biases", "mqa", "gpt2"])
def test_it_asks_for_what_the_model_asks_for(device: DeviceInfo, family: Family, name: str) -> None:
    runtime = Runtime(device)
    expected = expected_programs(name, runtime, family)
    # Only the CPU family's kernels meet mapped weights, at any offset; these are aligned.
    model = fixture_models.load(name, runtime, family=family, use_mmap=family == "cpu")
    table = np.arange(model.num_blocks, dtype=np.int32)
    for count in (40, 20, 8, 1):
        logits = model.forward(Batch((slice_of(np.arange(count), 0, table, "last"),)))
        logits.argmax()
        logits.top_k(5)
    assert set(runtime._programs) <= set(expected)
    runtime.close()


def test_layers_of_other_formats_are_rehearsed(device: DeviceInfo, tmp_path: Path) -> None:
    """q4_k gives the value and down matrices of some layers q6_k, or q8_0 where rows are odd."""
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_bytes(meta_tensors(BLOCK_CONFIG), config=BLOCK_CONFIG))
    runtime = Runtime(device)
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
        formats = choose_formats(tensors, "q4_k")
        assert distinct_layers(tensors, formats) == [0, 2]
        assert distinct_layers(tensors, None) == [0]
        options = (runtime, None, "fast", "q8_0", formats)
        found = set(kernels_of(config, tensors, *options))
        one = replace(config, n_layers=1, windows=config.windows[:1])
        for i in range(config.n_layers):
            assert set(kernels_of(one, tensors.with_layers([i]), *options)) <= found
    asked = {dict(defines).get("FORMAT") for _, defines in found}
    assert asked == {None, "Q4_K", "Q5_0", "Q6_K", "Q8_0"}
    runtime.close()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(prebuild.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that this process compiles."""
    files: list[str] = []
    plain: Callable[..., object] = programs._compile

    def compile_(*arguments: object) -> object:
        files.append(str(arguments[3]))
        return plain(*arguments)

    monkeypatch.setattr(programs, "_compile", compile_)
    return files


def test_children_leave_them_in_the_cache(
    device: DeviceInfo, empty_cache: Path, compiled: list[str]
) -> None:
    runtime = Runtime(device)
    wanted: list[Program] = [
        ("swiglu.cl", ()),
        ("argmax.cl", (("GROUP", 64),)),
        ("missing.cl", ()),
        ("argmax.cl", (("GROUP", "no number"),)),
        ("embedding.cl", ()),
    ]
    with building_kernels(runtime, wanted):
        pass
    for filename, defines in (wanted[0], wanted[1], wanted[4]):
        program = programs.build_program(runtime.context, device, filename, dict(defines))
        assert program.kernel_names
    assert compiled == []
    runtime.close()


def test_where_no_process_can_be_started(
    device: DeviceInfo, empty_cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuild.sys, "executable", str(empty_cache / "python"))
    runtime = Runtime(device, matrix_units=False)
    with building_kernels(runtime, [("swiglu.cl", (("N", n),)) for n in range(3)]):
        pass
    programs.build_program(runtime.context, device, "swiglu.cl", {"N": 1})
    assert compiled == ["swiglu.cl"]
    runtime.close()


def test_nothing_is_waited_for_after_an_error(
    device: DeviceInfo, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuild, "_CHILD", "import time; time.sleep(600)")
    runtime = Runtime(device, matrix_units=False)
    with (
        pytest.raises(KeyboardInterrupt),
        building_kernels(runtime, [("swiglu.cl", (("N", n),)) for n in range(3)]),
    ):
        raise KeyboardInterrupt
    runtime.close()
