"""An answer on the screen while it is written, which Ctrl-C stops."""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from cl_llama.cli.loading_bar import LoadingBar
from cl_llama.text_stream import StreamPiece

_PATIENCE = 3


class Impatience(KeyboardInterrupt):
    """Ctrl-C several times, because stopping the answer did not help: the program ends."""


_CONTROLS: dict[int, str | None] = dict.fromkeys((*range(32), *range(127, 160)), "\ufffd")
_CONTROLS |= {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): None}


def show_answer(
    pieces: Iterable[StreamPiece], stop: Callable[[], None], *, interactive: bool, quiet: bool
) -> None:
    """Write the pieces' text to standard output, and a line break after it.

    interactive: a person watches: Ctrl-C calls `stop`, and keys are kept for the next message.
    A terminal gets no control characters of the model's, and no white space first.
    """
    shown = _Shown(sys.stdout.isatty())
    with (
        LoadingBar(sys.stderr, hidden=quiet) as bar,
        _stopped_by_ctrl_c(stop) if interactive else nullcontext(),
        _unseen_keys() if interactive else nullcontext(),
    ):
        bar.await_first_token()
        try:
            for piece in pieces:
                text = shown.next(piece.text)
                if text:
                    bar.close()
                    sys.stdout.write(text)
                    sys.stdout.flush()
        finally:
            bar.close()
            sys.stdout.write("\n")
            sys.stdout.flush()
    if interactive and not quiet:
        print(file=sys.stderr)  # the next prompt stands by itself


class _Shown:
    """The text as it is shown."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal
        self._begun = False

    def next(self, text: str) -> str:
        if not self._terminal:
            return text
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text.translate(_CONTROLS)


@contextmanager
def _stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    pressed = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed == _PATIENCE:
            raise Impatience
        # Another thread takes the locks: this one may hold some where it was interrupted.
        threading.Thread(target=stop, daemon=True).start()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _unseen_keys() -> Iterator[None]:
    """Keys that are pressed meanwhile are not shown; who reads next gets them."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    unseen = termios.tcgetattr(terminal)
    unseen[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSANOW, unseen)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
