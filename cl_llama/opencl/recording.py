"""Launches that are queued again as they were, at a fraction of what it takes to make them."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cl_llama.opencl.profile import Work
from cl_llama.opencl.runtime import Runtime

if TYPE_CHECKING:
    import pyopencl as cl

_RARE = 4
"""Runs that are not worth a recording, which costs as much as some dozens of runs save."""

Result = TypeVar("Result")


class Repeats(Generic[Result]):
    """Runs launches that are the same again and again, from the fifth time on by a recording.

    A decode step's are: other tokens, at another position, in the same arrays.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._recording = Recording()
        self._key: Hashable = None
        self._times = 0
        self._result: Result | None = None

    def run(self, key: Hashable, launches: Callable[[], Result]) -> Result:
        """Launch, and return what `launches` returned for this key.

        `launches` only launches kernels, and with an equal key it launches the same ones with the
        same arguments.

        Raises:
            DeviceError: the driver refuses a kernel.
        """
        if key != self._key:
            self._key, self._times, self._result = key, 0, None
            self._recording.clear()
        if self._result is not None:
            self._runtime.replay(self._recording)
            return self._result
        self._times += 1
        if self._times <= _RARE:
            return launches()
        self._recording.clear()
        with self._runtime.recording(self._recording):
            result = launches()
        self._result = result
        return result


@dataclass(frozen=True, eq=False)
class Launch:
    """A kernel object of its own, which holds its arguments, and the sizes it is launched with."""

    kernel: "cl.Kernel"
    global_size: tuple[int, ...]
    local_size: tuple[int, ...] | None
    original: "cl.Kernel"
    """What `kernel` is a copy of."""
    arguments: Sequence[Any]
    """Kernel objects do not keep the buffers that they refer to."""
    work: Work | None
    """What was announced of it."""


class Recording:
    """Launches in order."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self._spare: dict[cl.Kernel, list[cl.Kernel]] = {}
        """Kernel objects by the one that they are copies of: making one takes long."""
        self._announced: Work | None = None

    def clear(self) -> None:
        """Forget the launches."""
        for launch in self.launches:
            self._spare.setdefault(launch.original, []).append(launch.kernel)
        self.launches.clear()
        self._announced = None

    def announce(self, work: Work) -> None:
        """What the next launch will do."""
        self._announced = work

    def add(
        self,
        original: "cl.Kernel",
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        arguments: Sequence[Any],
    ) -> None:
        """Note a launch; the arguments are buffers and NumPy scalars."""
        spare = self._spare.get(original)
        kernel = spare.pop() if spare else type(original)(original.program, original.function_name)
        kernel.set_args(*arguments)
        work, self._announced = self._announced, None
        self.launches.append(Launch(kernel, global_size, local_size, original, arguments, work))
