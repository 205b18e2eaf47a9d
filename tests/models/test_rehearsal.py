"""The kernels that a model will need are known, and built, before it runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.batch import Batch
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.rehearsal import kernels_of
from cl_llama.models.weights import map_tensors
from cl_llama.opencl import prebuild, programs
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.prebuild import Program, building_kernels
from cl_llama.opencl.runtime import Family, Runtime
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES, slice_of


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
