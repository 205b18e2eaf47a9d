"""What a person sees who waits for a model: a bar while it loads, then a spinner.

Nothing is shown for the first moments, which are all that a small model takes, nor where standard
error is not a terminal. rich is imported when there is something to show.
"""

import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE = 0.3
"""Seconds that pass before anything is shown."""


class LoadingBar:
    """Shows progress on a terminal and takes it away again; `close` it before writing text."""

    def __init__(
        self, stream: TextIO, *, hidden: bool = False, what: str = "Loading the model"
    ) -> None:
        self.visible = not hidden and stream.isatty() and os.environ.get("TERM") != "dumb"
        """Whether this is a place to show progress at all."""
        self._stream = stream
        self._what = what
        self._lock = threading.Lock()
        self._closed = False
        self._first_update: float | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._timer: threading.Timer | None = None

    def loaded(self, share: float) -> None:
        """A share of the weights, 0 to 1, is where it has to be."""
        if not self.visible:
            return
        now = time.perf_counter()
        if self._first_update is None:
            self._first_update = now
        if now - self._first_update > PATIENCE:
            self._show(self._what, share)

    def await_first_token(self) -> None:
        """The model is loaded; the first token waits for the prompt, and kernels may be built."""
        if self.visible:
            self._hide()
            self._timer = threading.Timer(
                PATIENCE, self._show, ("Waiting for the first token", None)
            )
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Take away what is shown and show nothing more; more calls do nothing."""
        if not self._closed:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._hide()

    def __enter__(self) -> Self:
        """The bar itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _show(self, what: str, share: float | None) -> None:
        """Show the share of what is done; None: nobody knows."""
        with self._lock:
            if self._closed:
                return
            if self._bar is None:
                from rich.console import Console
                from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

                self._bar = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    TimeElapsedColumn(),
                    console=Console(file=self._stream),
                    transient=True,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._task = self._bar.add_task(what, total=None if share is None else 1.0)
                self._bar.start()
            if share is not None and self._task is not None:
                self._bar.update(self._task, completed=share)

    def _hide(self) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
