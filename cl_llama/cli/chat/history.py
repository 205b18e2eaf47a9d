"""What was typed in earlier chats, in a file that only its owner can read."""

import contextlib
import os
from pathlib import Path

import platformdirs
from prompt_toolkit.history import FileHistory, History, InMemoryHistory


class PrivateHistory(FileHistory):
    """Goes on without keeping anything when the file can no longer be written."""

    def store_string(self, string: str) -> None:
        """Append to the file."""
        with contextlib.suppress(OSError):
            super().store_string(string)


def open_history(name: str | None) -> History:
    """The history in a file of the user's state folder; in memory for None, or if it cannot be."""
    if name is None:
        return InMemoryHistory()
    try:
        folder = Path(platformdirs.user_state_path("cl-llama", appauthor=False))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / name
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return PrivateHistory(path)
