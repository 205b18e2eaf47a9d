"""A connection that does not wait for its client for ever."""

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as HttpProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as HttpProtocol


class Connection(HttpProtocol):
    """Closes a connection whose client reads nothing of its answer, or never ends its headers.

    What waits to be read is bounded: with 64 KiB in the buffer the app is made to wait. An aborted
    connection tells the app that its client has gone.
    """

    idle_timeout = 30.0
    """Seconds."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Expect the rest of the headers unless they are all there."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._reading)
            self._reading = None
        elif self._reading is None:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        _cancel(self._reading)
        _cancel(self._writing)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The buffer is full: expect the client to read."""
        super().pause_writing()
        self._expect_progress()

    def resume_writing(self) -> None:
        """The buffer has room."""
        _cancel(self._writing)
        super().resume_writing()

    def _expect_headers(self) -> None:
        loop = asyncio.get_running_loop()
        self._reading = loop.call_later(self.idle_timeout, self.transport.abort)

    def _expect_progress(self) -> None:
        waiting = self.transport.get_write_buffer_size()

        def check() -> None:
            if self.transport.get_write_buffer_size() >= waiting:
                self.transport.abort()
            else:
                self._expect_progress()

        loop = asyncio.get_running_loop()
        self._writing = loop.call_later(self.idle_timeout, check)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def connection_type(idle_timeout: float) -> type[Connection]:
    """Connections with this many seconds of patience."""
    return type("Connection", (Connection,), {"idle_timeout": idle_timeout})
