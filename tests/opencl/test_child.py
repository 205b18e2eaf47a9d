"""Questions to child processes, and how these end."""

import sys

import pytest

from cl_llama.opencl.child import ChildError, ChildTimeoutError, ask_child


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes the body of a module's `main` to a folder that only this process's path has."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body: str) -> str:
        (tmp_path / "asked.py").write_text(f"def main():\n    {body}\n")
        return "asked"

    return write


def test_the_answer(module):
    name = module("import json, sys; print(json.dumps(sys.argv[1:]))")
    assert ask_child(name, "a", "b c", timeout=30) == ["a", "b c"]


def test_the_current_folder_holds_no_modules(module, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "json.py").write_text("raise SystemExit('taken from the folder')")
    monkeypatch.chdir(tmp_path / "here")
    assert ask_child(module("import json; print(json.dumps(1))"), timeout=30) == 1


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("raise ValueError('boom')", "ended with status 1: ValueError: boom"),
        ("print('no JSON')", "ended with status 0: without a word"),
        ("import os; os.abort()", "was ended by SIGABRT"),
        ("import os; os.kill(os.getpid(), 63)", "was ended by "),
    ],
)
def test_no_answer(module, body, ending):
    with pytest.raises(ChildError) as raised:
        ask_child(module(body), timeout=30)
    assert str(raised.value).startswith(ending)


def test_it_takes_too_long(module):
    with pytest.raises(ChildTimeoutError, match=r"^took longer than 0.3 s$"):
        ask_child(module("import time; time.sleep(60)"), timeout=0.3)


def test_no_interpreter(module, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(ChildError, match=r"^cannot be started: "):
        ask_child(module("pass"), timeout=30)
