"""Where messages come from: a person at a terminal, or the lines of a pipe."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from cl_llama.errors import RequestError

if TYPE_CHECKING:
    from cl_llama.cli.chat.commands import Command


class Reader(Protocol):
    """Gives messages one by one."""

    interactive: bool
    """Whether a person types them."""

    def read(self, draft: str, status: Callable[[], str]) -> str:
        """The next message; EOFError where there are no more.

        draft: text that is there already, to be changed. status: what to show below, if it can be.
        """
        ...


class LineReader:
    """Reads standard input, which is no terminal: UTF-8, a message a line.

    A backslash at a line's end joins it and the next one, with the line break.
    """

    interactive = False

    def __init__(self) -> None:
        if sys.stdin is None:
            raise RequestError("chat: standard input is closed")
        self._lines = sys.stdin.buffer
        self._number = 0

    def read(self, draft: str, status: Callable[[], str]) -> str:
        """The next message; EOFError where there are no more."""
        message = ""
        while line := self._line():
            text = line.removesuffix("\n").removesuffix("\r")
            if not text.endswith("\\") or not line.endswith("\n"):
                return message + text
            message += text[:-1] + "\n"
        if message:
            return message
        raise EOFError

    def _line(self) -> str:
        data = self._lines.readline()
        self._number += 1
        try:
            return data.decode("utf-8-sig" if self._number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise RequestError(
                f"chat: line {self._number} of standard input: expected UTF-8 text, got byte "
                f"0x{data[error.start]:02x} at {error.start}"
            ) from None


def open_reader(commands: "Mapping[str, Command]", *, history: str | None) -> Reader:
    """A reader for standard input as it is.

    commands: what can be completed behind a slash. history: the name of the file that keeps what
    was typed; None: it is forgotten.
    """
    screen = next((s for s in (sys.stderr, sys.stdout) if s is not None and s.isatty()), None)
    if sys.stdin is None or not sys.stdin.isatty() or screen is None:
        return LineReader()
    from cl_llama.cli.chat.terminal import TerminalReader

    return TerminalReader(screen, commands, history)
