"""A program at a terminal, and a person who types and waits for what it shows."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
READY = "\x1b[?2004h"
"""What the editor writes when it begins to read."""
PATIENCE = 120
"""Seconds to wait for anything."""
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b.|[\x00-\x08\x0b-\x1f]")
# The child's first act: the terminal that it was given becomes its own, and brings it Ctrl-C.
_START = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """The terminal's end that a person sees."""

    def __init__(self, process: subprocess.Popen, master: int) -> None:
        self.process = process
        self._master = master
        self._unread = ""
        self.settings = self.settings_now()

    def settings_now(self) -> list:
        return termios.tcgetattr(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """Everything that was written up to the text, which is read away."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._unread:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self._unread!r}"
            if not select.select([self._master], [], [], left)[0]:
                continue
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody is at the other end any more
                data = b""
            assert data, f"it has ended without {text!r}: {self._unread!r}"
            self._unread += data.decode(errors="replace")
        before, _, self._unread = self._unread.partition(text)
        return before

    def send(self, text: str) -> str:
        """Type a message and Enter; what stands on the screen when the next may be typed."""
        self.type(f"{text}\r")
        self.wait_for("\x1b[?2004l")
        return shown(self.wait_for(READY))

    def ended(self) -> int:
        """The exit status."""
        with contextlib.suppress(OSError):
            while os.read(self._master, 65536):
                pass
        return self.process.wait(PATIENCE)


def shown(text: str) -> str:
    """The text without what moves the cursor and colours."""
    return _CONTROL.sub("", text)


@contextlib.contextmanager
def terminal(words: Sequence[str], state: Path) -> Iterator[Terminal]:
    """Runs `cl-llama` with these words; what it remembers goes to the folder `state`."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "XDG_STATE_HOME": str(state),
        "HOME": str(state),
    }
    command = [sys.executable, "-c", _START, sys.executable, "-m", "cl_llama", *words]
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
