"""The search for kernel parameters; every value that it may choose computes the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.bench import tuner
from cl_llama.bench.tuner import chosen, tune
from cl_llama.cli import main
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Runtime
from cl_llama.opencl.tuning import Parameter, known_values
from tests import reference

SIZE = Parameter("op.size", "a size", default=4, values=(1, 2, 4, 8), rows=(1,))


@pytest.fixture
def own_runtime(device: DeviceInfo) -> Runtime:
    return Runtime(device)


class Trial:
    """Runs that take as long as a table says."""

    def __init__(
        self, runtime: Runtime, seconds: dict[int, float], wrong: dict[int, float]
    ) -> None:
        self.runtime = runtime
        self.seconds = seconds
        self.wrong = wrong

    @property
    def _size(self) -> int:
        return self.runtime.tuning.get("op.size", SIZE.default)

    def run(self, rows: tuple[int, ...]) -> float:
        return self.seconds[self._size]

    def results(self, rows: tuple[int, ...]) -> list[np.ndarray]:
        return [np.array([1.0, 2.0, self.wrong.get(self._size, 3.0)], np.float32)]


@pytest.mark.parametrize(
    ("seconds", "wrong", "best", "gain"),
    [
        ({1: 4, 2: 2, 4: 3, 8: 5}, {}, 2, 0.5),
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {}, 8, 1.0),
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {8: 3.01}, 2, 0.5),
        ({1: 4, 2: 2, 4: 3, 8: 1.5}, {8: np.nan}, 2, 0.5),
        ({1: 4, 2: 2.97, 4: 3, 8: 5}, {}, 4, 0.0),  # no more than noise
    ],
)
def test_the_fastest_right_value_wins(
    own_runtime: Runtime,
    seconds: dict[int, float],
    wrong: dict[int, float],
    best: int,
    gain: float,
) -> None:
    (found,) = tune(own_runtime, [SIZE], Trial(own_runtime, seconds, wrong))
    assert (found.best, round(found.gain, 6)) == (best, gain)
    assert own_runtime.tuning["op.size"] == best
    assert chosen(own_runtime.tuning, [SIZE]) == ({} if best == 4 else {"op.size": best})


def test_every_value_computes_the_same(own_runtime: Runtime) -> None:
    rng = np.random.default_rng(0)
    w_ND = rng.standard_normal((37, 70)).astype(np.float16)
    segment = ops.Segment(own_runtime.from_numpy(w_ND).buffer, 0, 70, 0, 37)
    weight = ops.Weight(own_runtime, (segment,), 37, 70)
    for parameter in ops.all_parameters():
        for tried in parameter.values:
            own_runtime.tuning = {parameter.name: tried}
            for T in (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 24, 25, 32, 33):
                x_TD = rng.standard_normal((T, 70)).astype(np.float32)
                out_TN = own_runtime.empty((T, 37), np.float32)
                ops.matmul(own_runtime.from_numpy(x_TD), weight, out_TN)
                expected = x_TD.astype(np.float64) @ w_ND.astype(np.float64).T
                error = reference.relative_rms(out_TN.numpy(), expected)
                assert error < 2e-5, f"{parameter.name} = {tried}, T = {T}: {error:.1e}"


@pytest.fixture
def small_trial(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tuner, "_WIDTH", 64)
    monkeypatch.setattr(tuner, "_ROWS", 48)
    monkeypatch.setattr(tuner, "_ROUNDS", 1)


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


def test_a_dry_run(device: DeviceInfo, small_trial: None, capsys, tmp_path) -> None:
    assert main(["tune", "--device", str(device.index), "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["parameter", "default", "best", "gain"]
    assert len(out) == 1 + len(ops.parameters(Runtime(device)))
    assert not (tmp_path / "tuning").exists()
