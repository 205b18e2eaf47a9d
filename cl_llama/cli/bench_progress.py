"""What a person sees during a bench: a bar on standard error, where that is a terminal."""

import os
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress


class BenchProgress:
    """Shows the loading and then the test that runs, and takes it all away at the end."""

    def __init__(self, stream: TextIO, steps: int, *, hidden: bool = False) -> None:
        """steps: how often `step` will be called."""
        self._stream = stream
        self._steps = steps
        self.visible = not hidden and stream.isatty() and os.environ.get("TERM") != "dumb"
        """Whether this is a place to show progress at all."""
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        """The progress itself."""
        if self.visible:
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
            self._loading = self._bar.add_task("Loading the model", total=1.0)
            self._running = self._bar.add_task("", total=self._steps, visible=False)
            self._done = -1
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it away."""
        if self._bar is not None:
            self._bar.stop()

    def loaded(self, share: float) -> None:
        """A share of the weights, 0 to 1, is on the device."""
        if self._bar is not None:
            self._bar.update(self._loading, completed=share)

    def expect(self, steps: int) -> None:
        """How often `step` will be called more than once, where that is known only now."""
        if self._bar is not None:
            self._bar.update(self._running, total=steps)

    def step(self, name: str) -> None:
        """The next step begins."""
        if self._bar is not None:
            self._done += 1
            self._bar.update(self._loading, visible=False)
            self._bar.update(self._running, description=name, completed=self._done, visible=True)
