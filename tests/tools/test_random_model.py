"""The tool that writes a random model, on a shape small enough for a test."""

from dataclasses import replace
from pathlib import Path

import pytest

from cl_llama.bench.shapes import Shape
from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.weights import map_tensors
from tools import make_random_model

TINY = Shape("a tiny one", 64, 2, 4, 2, 96, 128)


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


@pytest.mark.parametrize("tied", [False, True])
def test_it_loads(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool) -> None:
    shape = replace(TINY, tie_word_embeddings=tied)
    monkeypatch.setitem(make_random_model.SHAPES, "tied", shape)
    make_random_model.main(["tied", str(tmp_path / "tied"), "--max-seq-len", "64"])
    with open_checkpoint(tmp_path / "tied") as checkpoint:
        config = config_from_checkpoint(checkpoint)
        assert config == shape.config(64)
        tensors = map_tensors(config, checkpoint)
        assert (tensors.output is tensors.embedding) == tied
