"""The tools that make and measure a random model, on a shape small enough for a test."""

import json
from pathlib import Path

import pytest

from cl_llama.opencl.devices import DeviceInfo
from tools import bench_model, make_random_model

TINY = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(make_random_model.SHAPES, "tiny", TINY)
    folder = tmp_path / "model"
    assert make_random_model.main(["tiny", str(folder), "--max-seq-len", "64"]) == 0
    return folder


def test_the_model_is_the_same_at_every_run(tiny: Path, tmp_path: Path) -> None:
    make_random_model.main(["tiny", str(tmp_path / "again"), "--max-seq-len", "64"])
    for name in ("config.json", "model.safetensors"):
        assert (tiny / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_an_existing_folder_is_kept(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_random_model.main(["tiny", str(tiny)])
    assert "exists already" in capsys.readouterr().err


def test_bench(tiny: Path, device: DeviceInfo, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt-tokens", "20", "--repetitions", "2", "--read-mib", "32"]
    assert bench_model.main([str(tiny), "--device", str(device.index), *options]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    parameters = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 96) + 2 * 128 * 64
    assert result["weight_bytes"] == 2 * parameters + 4 * 5 * 64
    assert 0 < result["decode_tokens_per_s"] < 1e5
    assert result["bandwidth_gb_s"] > 0
    assert result["prefill_20_tokens_per_s"] > 0
