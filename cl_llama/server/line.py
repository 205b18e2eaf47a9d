"""The line in which requests wait for their turn."""

import asyncio
from collections import deque

from cl_llama.errors import QueueFullError


class Line:
    """At most `limit` are inside at a time; who comes first goes in first. For one event loop."""

    def __init__(self, limit: int, bound: int) -> None:
        """At most `bound` wait."""
        self.limit = limit
        self.bound = bound
        self.inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Wait for a place; QueueFullError if too many do. `leave` gives it back."""
        if self.inside < self.limit:
            self.inside += 1
            return
        if len(self._waiting) >= self.bound:
            raise QueueFullError(
                f"{self.inside} requests are being answered and {self.waiting} wait, no more may; "
                "try again later"
            )
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._waiting.remove(place)
            else:  # the place was given at the same moment
                self.leave()
            raise

    def leave(self) -> None:
        """Hand the place to the next one."""
        for place in list(self._waiting):
            if not place.done():
                self._waiting.remove(place)
                place.set_result(None)
                return
        self.inside -= 1
