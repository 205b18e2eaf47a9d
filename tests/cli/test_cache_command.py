"""`cl-llama cache`: size, removal, JSON."""

import argparse
import json
from pathlib import Path

import pytest

from cl_llama.cli import cache as command


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["cache", *words])
    return args.func(args)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path))
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("a", "b"):
        (programs / f"{name}.clbin").write_bytes(bytes(2**20))
    return programs


def test_text(folder, capsys):
    assert run() == 0
    assert capsys.readouterr().out == f"{folder}: 2 built kernels, 2.0 MiB\n"
    assert run("--clear") == 0
    assert capsys.readouterr().out == (
        f"removed 2 built kernels\n{folder}: 0 built kernels, 0.0 MiB\n"
    )


def test_json(folder, capsys):
    assert run("--json") == 0
    expected = {"path": str(folder), "entries": 2, "bytes": 2**21}
    assert json.loads(capsys.readouterr().out) == expected
    assert run("--clear", "--json") == 0
    expected = {"path": str(folder), "entries": 0, "bytes": 0, "removed": 2}
    assert json.loads(capsys.readouterr().out) == expected


def test_no_cache_yet(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path / "none"))
    assert run("--clear") == 0
    assert "0 built kernels" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_entries_that_stay_are_told(folder, capsys, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError

    monkeypatch.setattr(Path, "unlink", refuse)
    assert run("--clear") == 1
    assert capsys.readouterr().err == "2 entries could not be removed\n"
