"""Brings a step's small arrays to the device in one copy."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import DeviceArray, Runtime

if TYPE_CHECKING:
    import pyopencl as cl

_LEAST_BYTES = 1 << 14


class Staging:
    """One buffer that the arrays of step after step share, each at an aligned place.

    `put` gives an array its place, `send` brings all of them over without waiting. They stay what
    they are until the first `put` after it: what is queued before that may read them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._parts: dict[tuple[int, int], cl.Buffer] = {}
        """By place: making one takes longer than looking it up."""
        self._layout: list[Hashable] = []
        self._used = 0
        self._allocations = 0
        """Tells the buffers apart: what is freed may leave its address to what comes next."""
        self._sent: cl.Event | None = None
        """The copy that may still read the host's memory."""
        self._most_bytes = runtime.device.max_alloc_bytes
        self._allocate(min(_LEAST_BYTES, self._most_bytes))

    def put(self, array: NDArray[Any]) -> DeviceArray:
        """Where the array will be once it is sent; it may be changed at once."""
        alignment = self._runtime.alignment
        size = -(-max(array.nbytes, 1) // alignment) * alignment
        if self._used + size > self._host.nbytes:
            self._copy()
            self._allocate(max(size, min(2 * self._host.nbytes, self._most_bytes)))
        if self._used == 0:
            self._wait()
        start, self._used = self._used, self._used + size
        place = self._host[start : start + array.nbytes].view(array.dtype)
        place.reshape(array.shape)[...] = array
        part = self._parts.get((start, size))
        if part is None:
            part = self._parts[start, size] = self._runtime.part(self._buffer, start, size)
        self._layout.append((self._allocations, start, array.shape))
        return DeviceArray(self._runtime, part, array.shape, array.dtype)

    def send(self) -> Hashable:
        """Queue the copy; equal answers mean arrays of the same shapes in the same places."""
        self._copy()
        layout = tuple(self._layout)
        self._layout.clear()
        return layout

    def _copy(self) -> None:
        if self._used:
            self._sent = self._runtime.write_later(self._buffer, self._host[: self._used])
            self._used = 0

    def _allocate(self, nbytes: int) -> None:
        """What was put before keeps its place in the old buffer."""
        self._wait()
        self._host = np.empty(nbytes, np.uint8)
        self._buffer = self._runtime.allocate(nbytes)
        self._allocations += 1
        self._parts.clear()

    def _wait(self) -> None:
        if self._sent is not None:
            self._runtime.wait(self._sent)
            self._sent = None
