"""Requests' bodies, limited while they are read: in size, in time and in number."""

import asyncio
import contextlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cl_llama.server.errors import Failure, failure_response

LINGER = 2.0
"""Seconds for which the rest of a body that is too large is thrown away, so that a client that
sends all of it before it reads gets the answer and not a broken connection."""


class BodyMiddleware:
    """Reads the body before the app does: 413, 408 or 429 where it goes beyond a limit."""

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, idle_timeout: float, max_bodies: int
    ) -> None:
        """`idle_timeout`: seconds without a byte. `max_bodies`: how many are read at a time."""
        self._app = app
        self._max_bytes = max_bytes
        self._idle_timeout = idle_timeout
        self._max_bodies = max_bodies
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or refuse it."""
        if scope["type"] != "http" or not has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        body: bytes | Failure | None
        if self._bodies >= self._max_bodies:
            body = Failure(429, "too many requests at a time; try again later", retry_after=1)
        else:
            self._bodies += 1
            try:
                body = await self._read(Headers(scope=scope), receive)
            finally:
                self._bodies -= 1
        if isinstance(body, Failure):
            response = failure_response(scope["path"], body)
            response.headers["Connection"] = "close"  # the rest of the body is not a request
            await response(scope, receive, send)
        elif body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | Failure | None:
        """The body, or what is wrong with it; None if the client went away."""
        parts: list[bytes] = []
        size = 0
        if int(headers.get("content-length", "0")) > self._max_bytes:
            return await self._refuse(receive, expects="expect" in headers)
        while True:
            try:
                message = await asyncio.wait_for(receive(), self._idle_timeout)
            except TimeoutError:
                return Failure(
                    408, f"nothing came of the request's body for {self._idle_timeout:g} s"
                )
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._max_bytes:
                return await self._refuse(receive, expects=False)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _refuse(self, receive: Receive, *, expects: bool) -> Failure | None:
        """`expects`: the client has not sent anything and waits to be asked."""
        if not expects:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER):
                    while (message := await receive()).get("more_body", False):
                        pass
                    if message["type"] == "http.disconnect":
                        return None
        return Failure(
            413,
            f"the request's body is larger than the {self._max_bytes} bytes that the server takes "
            "(--max-body-size)",
        )


def has_body(headers: Headers) -> bool:
    """Whether a request with these headers brings a body."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, and then what comes after it."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
