"""Who may call: the Host header, the key, and that a web page does not call by stealth.

A web page anywhere can make its reader's browser send requests to a server on the reader's own
machine. It can give that machine a name of its own (DNS rebinding), so names are checked that
nobody has approved; addresses are as good as the person who wrote them. And it can send a form
without asking first, but not as application/json (WHATWG Fetch, CORS-safelisted headers), so
nothing else is taken.
"""

import ipaddress
import socket
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from cl_llama.server.bodies import has_body
from cl_llama.server.errors import Failure, failure_response

OPEN_PATHS = {"/", "/health", "/docs", "/openapi.json", "/favicon.ico"}
"""What takes no key: the page that asks for one, and what says nothing of what is served."""
OPEN_PREFIX = "/page/"


class AccessMiddleware:
    """Refuses those who may not call: 401, 403, 415."""

    def __init__(
        self, app: ASGIApp, *, host: str, allowed_hosts: Sequence[str], api_keys: Sequence[str]
    ) -> None:
        """`host`: the name or address that the server listens on."""
        self._app = app
        own = {"localhost", host, socket.gethostname()}
        self._names = {name.lower() for name in (*own, *allowed_hosts)}
        self._any_host = "*" in allowed_hosts
        self._keys = [sha256(key.encode()).digest() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            failure = self._judge(scope)
            if failure is not None:
                await failure_response(scope["path"], failure)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _judge(self, scope: Scope) -> Failure | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not (self._any_host or not host or self._is_known(host)):
            return Failure(
                403,
                f"this server does not go by the name {host!r:.100}; if it is yours, start the "
                "server with --allowed-host NAME",
            )
        path: str = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(OPEN_PREFIX)
        if self._keys and not is_open and not self._has_key(headers.get("authorization", "")):
            return Failure(
                401, "a key is missing or wrong; send the header Authorization: Bearer KEY"
            )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if has_body(headers) and kind != "application/json":
            got = f"got {kind!r:.100}" if kind else "there is none"
            return Failure(415, f"the header Content-Type must be application/json, {got}")
        return None

    def _is_known(self, host: str) -> bool:
        """Whether the server may be called so: an address, or an approved name."""
        if host.startswith("["):
            name = host[1:].partition("]")[0]
        else:
            name = host.partition(":")[0].rstrip(".").lower()
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _has_key(self, authorization: str) -> bool:
        """Whether it is one of the keys; it takes the same time whichever it is."""
        scheme, _, key = authorization.partition(" ")
        digest = sha256(key.strip().encode("latin-1")).digest()  # the header's own bytes
        found = [compare_digest(digest, known) for known in self._keys]
        return scheme.lower() == "bearer" and any(found)
