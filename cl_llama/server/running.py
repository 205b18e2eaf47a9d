"""Runs the app: listens, answers while the model loads, and stops in good order.

The first signal lets running texts end within the grace period, the second ends at once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from cl_llama.llm import Llama
from cl_llama.server.connection import connection_type
from cl_llama.server.errors import ListenError
from cl_llama.server.service import Service
from cl_llama.server.settings import ServerSettings

_log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)
KEEP_ALIVE = 30
"""Seconds that a connection without a request stays open."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on all addresses of a host; on one if `port` is 0, any free port.

    Raises ListenError.
    """
    where = f"{host}:{port}"
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((family, str(to[0])) for family, *_, to in found):
            where = f"{address}:{port}"
            sockets.append(socket.create_server((address, port), family=family))
            if port == 0:
                break
    except OSError as error:
        for listener in sockets:
            listener.close()
        named = isinstance(error, socket.gaierror) or error.errno is None
        reason = (error.strerror or str(error)) if named else os.strerror(error.errno or 0)
        raise ListenError(
            f"serve: cannot listen on {where}: {reason.lower()}; choose another --host or --port"
        ) from error
    return sockets


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def server_config(app: FastAPI, settings: ServerSettings) -> uvicorn.Config:
    """How the app is to be served."""
    return uvicorn.Config(
        app,
        http=connection_type(settings.idle_timeout),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE,
        # The texts end before; what is left are clients that do not read.
        timeout_graceful_shutdown=int(settings.grace_seconds) + 5,
    )


class _Server(uvicorn.Server):
    """Leaves signals to `Runner`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class Runner:
    """One run of a server, from its first socket to its last text."""

    def __init__(self, app: FastAPI, load: Callable[[Callable[[], bool]], Llama]) -> None:
        """`load` makes the model, in a thread; what it is called with tells if to give up."""
        self._service: Service = app.state.service
        self._settings = self._service.settings
        self._server = _Server(server_config(app, self._settings))
        self._load = load
        self._llm: Llama | None = None
        self._error: BaseException | None = None
        self._killed_by: int | None = None

    def run(self, sockets: Sequence[socket.socket], on_ready: Callable[[Llama], None]) -> int:
        """Serve until a signal; the exit status. `on_ready` is called when the model is there.

        Raises what `load` raises.
        """
        try:
            asyncio.run(self._run(sockets, on_ready))
        finally:
            for listener in sockets:
                listener.close()
            if self._llm is not None:
                self._llm.close()
        if self._error is not None:
            raise self._error
        return 0 if self._killed_by is None else 128 + self._killed_by

    async def _run(
        self, sockets: Sequence[socket.socket], on_ready: Callable[[Llama], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        loaded = asyncio.Event()
        self._service.on_stop = self._stop

        def load() -> None:
            try:
                self._llm = self._load(lambda: self._server.should_exit)
            except BaseException as error:
                self._error = error
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(loaded.set)

        # A daemon: building a kernel or a download cannot be stopped, and does not keep a server
        # from its end.
        loading = threading.Thread(target=load, name="cl-llama load", daemon=True)
        with self._signals(loop):
            serving = asyncio.create_task(self._server.serve(sockets=list(sockets)))
            loading.start()
            waiting = asyncio.create_task(loaded.wait())
            await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._error is not None:
                if self._server.should_exit:
                    self._error = None  # it gave up because it was told to
                self._server.should_exit = True
            elif self._llm is not None and not self._server.should_exit:
                self._service.serve(self._llm)
                on_ready(self._llm)
            await serving
            self._service.close()

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        def handle(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(self._signalled, number)

        before = {number: signal.signal(number, handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _signalled(self, number: int) -> None:
        if self._server.should_exit:
            self._killed_by = number
            self._service.cancel_all()
            self._server.force_exit = True
        else:
            self._stop()

    def _stop(self) -> None:
        """Take no more connections; end what runs within the grace period."""
        self._service.drain()
        self._server.should_exit = True
        if self._service.line.inside:
            _log.info(
                "stopping: %d requests are being answered, for %g s at most",
                self._service.line.inside + self._service.line.waiting,
                self._settings.grace_seconds,
            )
        asyncio.get_running_loop().call_later(
            self._settings.grace_seconds, self._service.cancel_all
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(
        str(address[0]) == "::1" or str(address[0]).startswith("127.") for *_, address in found
    )
