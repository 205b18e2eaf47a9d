"""One HTTP request: whether its client is still there, and what it holds until its end."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cl_llama.errors import ClLlamaError
from cl_llama.server.errors import (
    ClientGoneError,
    RequestTimeoutError,
    failure_of,
    failure_response,
)

if TYPE_CHECKING:
    from cl_llama.server.answer import AnswerStream
    from cl_llama.server.line import Line

T = TypeVar("T")

LAST_WORDS = 5.0
"""Seconds that a client has, after the time for its answer is over, to read that this is so."""

_log = logging.getLogger(__name__)
_current: ContextVar["Exchange"] = ContextVar("exchange")


def current_exchange() -> "Exchange":
    """The HTTP request that the calling task answers."""
    return _current.get()


class Exchange:
    """A request and its answer on their way."""

    def __init__(self, scope: Scope, timeout: float) -> None:
        """`timeout`: seconds from now on that the answer may take."""
        self.scope = scope
        self.began = time.perf_counter()
        self.deadline = asyncio.get_running_loop().time() + timeout
        """When the answer has to be there, by the event loop's clock."""
        self.timeout = timeout
        self.streams: list[AnswerStream] = []
        """Texts that are, or were, generated for it."""
        self.is_over = asyncio.Event()
        """Set when no answer is wanted any more: the client has gone, or the server stops."""
        self.client_gone = asyncio.Event()
        self.status: int | None = None
        """The answer's, once it has begun."""
        self.waited = 0.0
        """Seconds that it stood in line."""
        self.error: ClLlamaError | None = None
        """Why no answer is wanted any more."""
        self._callbacks: list[Callable[[], None]] = []
        self._line: Line | None = None
        self._entering = asyncio.Lock()

    @property
    def method(self) -> str:
        """GET, POST or another."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """What was asked for, without the query."""
        return str(self.scope["path"])

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.began

    async def enter(self, line: "Line") -> None:
        """Wait for a place in the line, the first time; it is kept until the request ends.

        Raises QueueFullError, RequestTimeoutError and ClientGoneError.
        """
        async with self._entering:
            if self._line is None:
                began = time.perf_counter()
                await self.wait_for(line.enter())
                self._line = line
                self.waited = time.perf_counter() - began

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, or cancel it when the request is over or has no time left.

        Raises RequestTimeoutError, or the error that the request was aborted with.
        """
        task = asyncio.ensure_future(work)
        over = asyncio.ensure_future(self.is_over.wait())
        left = self.deadline - asyncio.get_running_loop().time()
        try:
            await asyncio.wait(
                (task, over), timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
            )
            if task.done():
                return task.result()
            if self.error is None:
                self.time_out()
            assert self.error is not None
            raise self.error
        finally:
            over.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    def time_out(self) -> None:
        """The answer has taken too long."""
        self.abort(
            RequestTimeoutError(
                f"the answer took longer than the {self.timeout:g} s that a request has "
                "(--request-timeout)"
            )
        )

    def abort(self, error: ClLlamaError) -> None:
        """No answer is wanted any more: what is generated for it ends with the error."""
        self.error = error
        self.is_over.set()
        for stream in self.streams:
            stream.abort(error)

    def leave(self) -> None:
        """The client went away."""
        self.client_gone.set()
        self.abort(ClientGoneError("the client closed the connection"))

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back when the request has been answered, or given up."""
        self._callbacks.append(callback)

    def end(self) -> None:
        """Give back all that it holds."""
        for stream in self.streams:
            stream.cancel()
        if self._line is not None:
            self._line.leave()
            self._line = None
        for callback in self._callbacks:
            callback()


class ExchangeMiddleware:
    """Makes an `Exchange` of every HTTP request and notices when its client goes away."""

    def __init__(
        self, app: ASGIApp, timeout: float, observers: Sequence[Callable[[Exchange], None]] = ()
    ) -> None:
        """`observers` are told of every request that is over."""
        self._app = app
        self._timeout = timeout
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, self._timeout)
        watch: asyncio.Task[None] | None = None
        is_answered = False

        async def watch_client() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not is_answered:  # else it is the server that says that there is no more
                exchange.leave()

        async def watched_receive() -> Message:
            nonlocal watch
            if watch is not None:  # the body is read: all that can come is the client's leaving
                await exchange.client_gone.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.disconnect":
                exchange.leave()
            elif not message.get("more_body", False):
                watch = asyncio.create_task(watch_client())
            return message

        async def noted_send(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            elif not message.get("more_body", False):
                is_answered = True
            try:
                async with asyncio.timeout_at(exchange.deadline + LAST_WORDS):
                    if not exchange.client_gone.is_set():
                        await send(message)
            except TimeoutError:  # a client that reads a little now and then
                exchange.leave()

        token = _current.set(exchange)
        try:
            await self._app(scope, watched_receive, noted_send)
        except Exception as error:
            if exchange.status is not None:
                raise  # whoever runs the app breaks the connection, so that no one takes it for all
            _log.error("%s %s: %s", exchange.method, exchange.path, error, exc_info=error)
            response = failure_response(exchange.path, failure_of(error))
            await response(scope, watched_receive, noted_send)
        finally:
            _current.reset(token)
            if watch is not None:
                watch.cancel()
            exchange.end()
            for observer in self._observers:
                observer(exchange)
