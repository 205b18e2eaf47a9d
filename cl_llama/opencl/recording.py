"""Launches that are queued again as they were, at a fraction of what it takes to make them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cl_llama.opencl.profile import Work
from cl_llama.opencl.runtime import Runtime

if TYPE_CHECKING:
    import pyopencl as cl

_RARE = 4
"""Runs that are not worth a recording, which costs as much as some dozens of runs save."""
_MOST_KEYS = 8
"""Kinds of steps that take turns: tokens one by one, with guesses, beside a chunk of a prompt."""

Result = TypeVar("Result")


class Repeats(Generic[Result]):
    """Runs launches that are the same again and again, from the fifth time on by a recording.

    A decode step's are: other tokens, at another position, in the same arrays. Some keys may take
    turns; the one that has not come for longest makes room. Recordings end when a scratch array
    grows, so that none keeps the smaller one.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: OrderedDict[Hashable, _Known[Result]] = OrderedDict()
        self._spare: dict[cl.Kernel, list[cl.Kernel]] = {}
        """Kernel objects by the one that they are copies of: making one takes long."""
        self._scratch_changes = 0

    def run(self, key: Hashable, launches: Callable[[], Result]) -> Result:
        """Launch, and return what `launches` returned for this key.

        `launches` only launches kernels, and with an equal key it launches the same ones with the
        same arguments.

        Raises:
            DeviceError: the driver refuses a kernel.
        """
        if self._scratch_changes != self._runtime.scratch_changes:
            self._scratch_changes = self._runtime.scratch_changes
            while self._known:
                self._let_go()
        known = self._known.get(key)
        if known is None:
            if len(self._known) == _MOST_KEYS:
                self._let_go()
            known = self._known[key] = _Known(Recording(self._spare))
        self._known.move_to_end(key)
        if known.result is not None:
            self._runtime.replay(known.recording)
            return known.result
        known.times += 1
        if known.times <= _RARE:
            return launches()
        known.recording.clear()
        with self._runtime.recording(known.recording):
            result = launches()
        known.result = result
        return result

    def _let_go(self) -> None:
        """Forget the key that has not come for longest."""
        _, known = self._known.popitem(last=False)
        known.recording.clear()


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

    def __init__(self, spare: "dict[cl.Kernel, list[cl.Kernel]]") -> None:
        """spare: kernel objects by what they are copies of; shared with other recordings."""
        self.launches: list[Launch] = []
        self._spare = spare
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


@dataclass(eq=False)
class _Known(Generic[Result]):
    """What `Repeats` keeps of a key."""

    recording: Recording
    times: int = 0
    result: Result | None = None
