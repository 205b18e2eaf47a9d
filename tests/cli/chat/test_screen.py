import io
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from cl_llama.cli.chat.screen import show_answer
from cl_llama.text_stream import StreamPiece


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def pieces(*texts: str) -> Iterator[StreamPiece]:
    for text in texts:
        yield StreamPiece(text, 1, 1.0, None, (), None)


def test_a_terminal_gets_text_only(monkeypatch, capsys):
    texts = "", " \n", " red\x1b[31m", "\ta\u200db\r\n", "\x9b2J\x07\x7f ", "é"
    show_answer(pieces(*texts), print, interactive=False, quiet=True)
    assert capsys.readouterr().out == "".join(texts) + "\n"
    monkeypatch.setattr("sys.stdout", Screen())
    show_answer(pieces(*texts), print, interactive=False, quiet=True)
    assert sys.stdout.getvalue() == "red\ufffd[31m\ta\u200db\n\ufffd2J\ufffd\ufffd é\n"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_stops_the_answer_and_at_last_the_program(capsys):
    stopped = threading.Event()

    def endless() -> Iterator[StreamPiece]:
        signal.raise_signal(signal.SIGINT)
        assert stopped.wait(30)
        yield from pieces("the rest")

    before = signal.getsignal(signal.SIGINT)
    show_answer(endless(), stopped.set, interactive=True, quiet=True)
    assert capsys.readouterr().out == "the rest\n"
    assert signal.getsignal(signal.SIGINT) is before

    def deaf() -> Iterator[StreamPiece]:
        yield from pieces("a")
        while True:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        show_answer(deaf(), stopped.set, interactive=True, quiet=True)
    assert capsys.readouterr().out == "a\n"
    assert signal.getsignal(signal.SIGINT) is before
