"""A runtime that computes nothing: it notes which kernels it is asked for."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from cl_llama.opencl.runtime import Runtime

Defines = tuple[tuple[str, int | float | str], ...]


@dataclass(frozen=True)
class _NoBuffer:
    size: int


class Rehearsal(Runtime):
    """Stands in for another runtime in a run whose results nobody reads; needs no memory.

    `programs` are the kernel files that it was asked for, with their preprocessor symbols.
    """

    def __init__(self, runtime: Runtime) -> None:
        """`runtime` is the one whose place this takes."""
        vars(self).update(vars(runtime))
        self.programs: dict[tuple[str, Defines], None] = {}
        self._scratch = {}
        self._profile = None

    def allocate(self, nbytes: int) -> Any:
        """A size."""
        return _NoBuffer(max(nbytes, 64))

    def part(self, buffer: Any, start: int, nbytes: int) -> Any:
        """A size."""
        return _NoBuffer(nbytes)

    def write(self, buffer: Any, array: NDArray[Any], offset: int = 0) -> None:
        """Nothing happens."""

    def write_later(self, buffer: Any, array: NDArray[Any]) -> Any:
        """Nothing happens."""

    def read(self, *copies: tuple[Any, NDArray[Any]]) -> None:
        """Everything is zero."""
        for _, out in copies:
            out.fill(0)

    def kernel(self, filename: str, name: str, arguments: str, **defines: int | float | str) -> Any:
        """Note the program."""
        self.programs[filename, tuple(sorted(defines.items()))] = None

    def launch(
        self,
        kernel: Any,
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        *arguments: Any,
    ) -> None:
        """Nothing happens."""

    def finish(self) -> None:
        """Nothing is queued."""
