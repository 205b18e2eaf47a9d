"""The progress bar: on terminals only, after a moment only, and gone when text comes."""

import io
import time

import pytest

from cl_llama.cli import loading_bar
from cl_llama.cli.loading_bar import LoadingBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def in_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def wait_for(stream: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert text in stream.getvalue()


def test_a_slow_load_shows_a_bar_and_takes_it_away(monkeypatch):
    monkeypatch.setattr(loading_bar, "PATIENCE", 0.01)
    stream = Terminal()
    with LoadingBar(stream) as bar:
        assert bar.visible
        bar.loaded(0.1)
        assert stream.getvalue() == ""
        time.sleep(0.02)
        bar.loaded(0.5)
        wait_for(stream, "Loading the model")
    shown = stream.getvalue()
    assert shown.rindex("\x1b[2K") > shown.rindex("Loading")  # the line is erased
    assert shown.endswith("\x1b[?25h") or "\x1b[?25h" in shown  # the cursor is back
    bar.loaded(1.0)
    assert stream.getvalue() == shown


def test_a_slow_first_token_shows_that_something_goes_on(monkeypatch):
    monkeypatch.setattr(loading_bar, "PATIENCE", 0.01)
    stream = Terminal()
    with LoadingBar(stream) as bar:
        bar.await_first_token()
        wait_for(stream, "Waiting for the first token")
        bar.close()
        shown = stream.getvalue()
        time.sleep(0.2)
    assert stream.getvalue() == shown


def test_a_quick_start_shows_nothing():
    stream = Terminal()
    with LoadingBar(stream) as bar:
        for share in (0.1, 0.5, 1.0):
            bar.loaded(share)
        bar.await_first_token()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("case", ["file", "hidden", "dumb"])
def test_places_where_nothing_is_shown(case, monkeypatch):
    monkeypatch.setattr(loading_bar, "PATIENCE", 0.0)
    stream = io.StringIO() if case == "file" else Terminal()
    if case == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    with LoadingBar(stream, hidden=case == "hidden") as bar:
        assert not bar.visible
        bar.loaded(0.1)
        bar.loaded(0.5)
        bar.await_first_token()
        time.sleep(0.05)
    assert stream.getvalue() == ""
