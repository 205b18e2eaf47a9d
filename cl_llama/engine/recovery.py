"""An engine whose device has failed: its model is loaded anew, but not for ever."""

import traceback
from collections.abc import Callable
from typing import TypeAlias

from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import DeviceError, KernelBuildError, LogitsError
from cl_llama.models.batch import Model

Loaded: TypeAlias = tuple[Model, Speculator | None]
"""A model and who guesses for it."""

PAUSES = (0.1, 1.0, 4.0)
"""Seconds before each try to load the model. A program that ends with the error closes the engine
in the first, and waits for no model."""
MOST_IN_A_ROW = 3
"""Times that a model is loaded without a step that succeeds."""


def is_fault_of_device(cause: Exception) -> bool:
    """Whether what the device holds is in doubt after an error.

    It is after a command that failed or memory that ran out. It is not after a kernel that does not
    build, or weights that give no numbers: a model that is loaded anew has them, too.
    """
    return isinstance(cause, DeviceError) and not isinstance(cause, KernelBuildError | LogitsError)


def let_go(error: BaseException) -> None:
    """Clear the frames that an error went through: they hold weights and buffers."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


class Recovery:
    """Loads a model anew and counts how often. Used by the engine's thread only."""

    def __init__(self, rebuild: Callable[[], Loaded]) -> None:
        """rebuild: gives up what the old model holds and returns another."""
        self._rebuild = rebuild
        self._in_a_row = 0

    def note_success(self) -> None:
        """A step has succeeded."""
        self._in_a_row = 0

    def run(self, cause: DeviceError, wait: Callable[[float], bool]) -> Loaded | None:
        """The model that takes the place of the one that failed with `cause`.

        wait: called with seconds, returns after them, or at once with True, and nothing is loaded,
        if the engine is to be closed; None then.

        Raises:
            DeviceError: it failed too often, or cannot be loaded.
        """
        self._in_a_row += 1
        if self._in_a_row > MOST_IN_A_ROW:
            raise DeviceError(
                f"the model was loaded anew {MOST_IN_A_ROW} times, and each time its first step "
                f"failed: {cause}"
            ) from cause
        problem: Exception = cause
        for pause in PAUSES:
            if wait(pause):
                return None
            try:
                return self._rebuild()
            except Exception as error:
                let_go(error)
                problem = error
        raise DeviceError(
            f"{cause}; and the model could not be loaded anew, in {len(PAUSES)} tries: {problem}"
        ) from problem
