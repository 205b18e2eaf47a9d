"""The search for kernel parameters; every value that it may choose computes the same."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.bench import tuner, tuner_trial
from cl_llama.bench.tuner import chosen, tune
from cl_llama.cli import main
from cl_llama.errors import KernelBuildError
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Family, Runtime
from cl_llama.opencl.tuning import Parameter, known_values, value
from tests import reference
from tests.ops import test_attention
from tests.ops.test_attention import Case

SIZE = Parameter("op.size", "a size", default=4, values=(1, 2, 4, 8), rows=(1,))


@pytest.fixture
def own_runtime(device: DeviceInfo) -> Runtime:
    return Runtime(device)


class Trial:
    """Runs that take as long as a table says, or end in an error it has."""

    def __init__(
        self,
        runtime: Runtime,
        seconds: Mapping[int, float],
        wrong: Mapping[int, float | Exception],
    ) -> None:
        self.runtime = runtime
        self.seconds = seconds
        self.wrong = wrong
        self.runs: list[int] = []

    @property
    def _size(self) -> int:
        return value(self.runtime.tuning, SIZE)

    def run(self, parameter: Parameter) -> float:
        self.runs.append(self._size)
        return self.seconds[self._size]

    def results(self, parameter: Parameter) -> list[np.ndarray]:
        wrong = self.wrong.get(self._size, 3.0)
        if isinstance(wrong, Exception):
            raise wrong
        return [np.array([1.0, 2.0, wrong], np.float32)]


@pytest.mark.parametrize(
    ("seconds", "wrong", "best", "gain"),
    [
        ({1: 4, 2: 2, 4: 3, 8: 5}, {}, 2, 0.5),
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {}, 8, 1.0),
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {8: 3.01}, 2, 0.5),
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {8: np.nan}, 2, 0.5),
        ({1: 4, 2: 2.97, 4: 3, 8: 5}, {}, 4, 0.0),  # no more than noise
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {8: KernelBuildError("no such size")}, 2, 0.5),
    ],
)
def test_the_fastest_right_value_wins(
    own_runtime: Runtime,
    seconds: dict[int, float],
    wrong: dict[int, float | Exception],
    best: int,
    gain: float,
) -> None:
    (found,) = tune(own_runtime, [SIZE], Trial(own_runtime, seconds, wrong), budget=60)
    assert (found.best, round(found.gain, 6)) == (best, gain)
    assert [note.split(":")[0] for note in found.notes] == [f"op.size = {v}" for v in wrong]
    assert own_runtime.tuning["op.size"] == best
    assert chosen(own_runtime.tuning, [SIZE]) == ({} if best == 4 else {"op.size": best})


def test_slower_values_are_not_measured_for_long(own_runtime: Runtime) -> None:
    trial = Trial(own_runtime, {1: 4, 2: 4, 4: 3, 8: 5}, {})
    tune(own_runtime, [SIZE], trial, budget=60)
    assert [trial.runs.count(size) for size in (1, 2, 8)] == [3, 3, 3]


def test_a_winner_is_measured_again(own_runtime: Runtime) -> None:
    trial = Trial(own_runtime, {1: 4, 2: 4, 4: 3, 8: 2}, {})

    def run(parameter: Parameter) -> float:
        """Eight is fast as long as its first comparison goes on."""
        lucky = trial.runs.count(8) < 9
        return (Trial.run(trial, parameter), 3.0)[not lucky]

    trial.run = run
    (found,) = tune(own_runtime, [SIZE], trial, budget=60)
    assert found.best == 4
    assert trial.runs.count(8) > 9


def test_the_budget(own_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first parameter's share is half of it; what it leaves goes to the second."""
    clock = iter(range(10**6))
    monkeypatch.setattr(tuner, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    other = replace(SIZE, name="op.other")

    class Both(Trial):
        def results(self, parameter: Parameter) -> list[np.ndarray]:
            value(self.runtime.tuning, other)
            return super().results(parameter)

    trial = Both(own_runtime, {1: 4, 2: 2, 4: 3, 8: 5}, {})
    first, second = tune(own_runtime, [SIZE, other], trial, budget=20)
    assert first.best == 4
    assert [note.partition(": ")[2] for note in first.notes] == ["no time left"] * 2
    assert [note.partition(": ")[0] for note in first.notes] == ["op.size = 2", "op.size = 8"]
    assert second.notes


def test_what_kernels_do_not_ask_for_is_left_out(own_runtime: Runtime) -> None:
    steps: list[str] = []
    unused = replace(SIZE, name="op.unused")
    trial = Trial(own_runtime, {1: 4, 2: 4, 4: 3, 8: 5}, {})
    assert tune(own_runtime, [unused], trial, budget=60, on_step=steps.append) == []
    assert steps == [f"op.unused = {v}" for v in (1, 2, 8)]
    assert not trial.runs


MIXES = max(len(parameter.values) for parameter in ops.ALL_PARAMETERS)


def mix(number: int) -> dict[str, int]:
    """A value of every parameter; each of the values is in one of `MIXES` at least."""
    return {
        p.name: p.values[(number + i) % len(p.values)] for i, p in enumerate(ops.ALL_PARAMETERS)
    }


def test_mixes_have_every_value() -> None:
    mixes = [mix(number) for number in range(MIXES)]
    for parameter in ops.ALL_PARAMETERS:
        assert {m[parameter.name] for m in mixes} == set(parameter.values)


@pytest.mark.parametrize("number", range(MIXES))
def test_every_mix_of_values_computes_the_same(
    own_runtime: Runtime, family: Family, number: int
) -> None:
    """One device is enough; the kernels' own tests meet the others."""
    if not own_runtime.device.platform.startswith("Intel"):
        pytest.skip("Intel's compiler is the quickest")
    own_runtime.tuning = mix(number)
    products(own_runtime, family)
    case = Case(((1, 300), (1, 1000), (40, 0), (9, 91), (2, 600)), H=8, G=2, K=16)
    test_attention.test_attention(own_runtime, family, case)
    test_attention.test_attention(own_runtime, family, Case(((1, 300), (20, 3)), H=5, G=1, K=144))


def products(runtime: Runtime, family: Family) -> None:
    """Of as many rows as all ways of multiplying take, of a gated network with a residual."""
    rng = np.random.default_rng(0)
    D, F = 70, 150
    gate, up = (rng.standard_normal((F, D)).astype(np.float16) for _ in range(2))
    down = rng.standard_normal((D, F)).astype(np.float16)
    network = ops.GatedNetwork(*(_weight(runtime, w) for w in (gate, up, down)))
    norm = ops.Norm(runtime.from_numpy(np.ones(D, np.float32)), 1e-5)
    for T in (1, 3, 7, 29, 67):
        x_TD = rng.standard_normal((T, D)).astype(np.float32)
        x, out = runtime.from_numpy(x_TD), runtime.empty((T, F), np.float32)
        ops.matmul(x, _weight(runtime, gate), out, family=family)
        error = reference.relative_rms(out.numpy(), reference.matmul(x_TD, gate))
        assert error < 2e-5, f"T = {T}: {error:.1e}"
        ops.feed_forward(x, norm, network, family=family)
        h_TD = reference.rmsnorm(x_TD, np.ones(D), 1e-5)
        hidden = reference.swiglu(reference.matmul(h_TD, gate), reference.matmul(h_TD, up))
        error = reference.relative_rms(x.numpy(), x_TD + reference.matmul(hidden, down))
        assert error < 2e-5, f"gated network, T = {T}: {error:.1e}"


def _weight(runtime: Runtime, w_ND: np.ndarray) -> ops.Weight:
    rows, columns = w_ND.shape
    segment = ops.Segment(runtime.from_numpy(w_ND).buffer, 0, columns, 0, rows)
    return ops.Weight(runtime, (segment,), rows, columns)


SOME = (
    "matmul.cpu.gemv_rows",
    "attention.cpu.least_chunk",
    "matmul.portable.gemv_rows",
    "attention.portable.groups_per_unit",
)


@pytest.fixture
def small_trial(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path))
    for name, small in {"_WIDTH": 64, "_HIDDEN": 48, "_HEADS": 4, "_KV_HEADS": 2}.items():
        monkeypatch.setattr(tuner_trial, name, small)
    monkeypatch.setattr(tuner_trial, "_HEAD_DIM", 16)
    monkeypatch.setattr(tuner_trial, "_MOST_REPEATS", 1)
    monkeypatch.setattr(tuner, "_ROUNDS", 1)
    # Of each family two that need few kernels.
    some = [p for p in ops.ALL_PARAMETERS if p.name in SOME]
    assert len(some) == len(SOME)
    monkeypatch.setattr(sys.modules["cl_llama.ops.parameters"], "ALL_PARAMETERS", some)


def test_the_command(device: DeviceInfo, small_trial: None, capsys, monkeypatch) -> None:
    monkeypatch.setattr(tuner, "MARGIN", 0.0)
    assert main(["tune", "--device", str(device.index), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    best = {row["parameter"]: row["best"] for row in answer["results"]}
    changed = {
        row["parameter"]: row["best"] for row in answer["results"] if row["best"] != row["default"]
    }
    assert best.keys() == {p.name for p in ops.parameters(Runtime(device))}
    assert changed.items() <= known_values(device).items()
    assert json.loads(Path(answer["file"]).read_bytes())["devices"].popitem()[1] == changed


def test_the_list(device: DeviceInfo, capsys) -> None:
    parameters = ops.parameters(Runtime(device))
    assert main(["tune", "--device", str(device.index), "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["parameters"]
    assert [row["parameter"] for row in rows] == [p.name for p in parameters]
    assert all(row["in_use"] in row["values"] for row in rows)
    assert main(["tune", "--device", str(device.index), "--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"    {p.meaning}" in out.splitlines() for p in parameters)


@pytest.mark.parametrize("budget", ["0", "-3", "nan", "inf", "soon"])
def test_a_budget_that_is_none(capsys, budget: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["tune", f"--budget={budget}"])
    assert stopped.value.code == 2
    assert "expected seconds above 0" in capsys.readouterr().err


def test_a_dry_run(device: DeviceInfo, small_trial: None, capsys, tmp_path) -> None:
    assert main(["tune", "--device", str(device.index), "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["parameter", "default", "best", "gain"]
    assert len(out) == 1 + len(ops.parameters(Runtime(device)))
    assert not (tmp_path / "tuning").exists()
