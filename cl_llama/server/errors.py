"""Errors as clients see them: a status, and one line in the shape of the API that was called."""

from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

from cl_llama.errors import (
    ChatTemplateError,
    ClLlamaError,
    ContextFullError,
    QueueFullError,
    RequestError,
    TokenizerError,
)

CLIENT_GONE = 499
"""The status in the log of a request whose client went away before it was answered."""


class ListenError(ClLlamaError):
    """An address that the server cannot listen on."""


class NotReadyError(ClLlamaError):
    """The model is being loaded or rebuilt, or the server is about to stop."""


class RequestTimeoutError(ClLlamaError):
    """A text was not finished within the time that a request has."""


class ClientGoneError(ClLlamaError):
    """The client closed its connection; nobody reads an answer."""


class ApiError(RequestError):
    """A request that an endpoint refuses, told in its API's own words."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        """param: the request's field that is to blame; code: a word that programs look for."""
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a request."""

    status: int
    message: str
    """One line."""
    param: str | None = None
    """The request's field that is to blame."""
    retry_after: int | None = None
    """Seconds after which another try makes sense."""
    code: str | None = None
    """A word that programs look for; None: the status' own."""

    @property
    def kind(self) -> str:
        """OpenAI's word for it."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return kinds.get(
            self.status, "server_error" if self.status >= 500 else "invalid_request_error"
        )

    def body(self, path: str) -> dict[str, Any]:
        """The JSON object that tells of it: OpenAI's below /v1, else an object with one line."""
        if path.startswith("/v1/"):
            return {
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.code or _CODES.get(self.status),
                }
            }
        return {"error": self.message}

    @property
    def headers(self) -> dict[str, str]:
        """Header lines that go with the status."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


_CODES = {
    401: "invalid_api_key",
    404: "not_found",
    413: "request_too_large",
    429: "queue_full",
    503: "not_ready",
    504: "timeout",
}


def failure_of(error: Exception) -> Failure:
    """What to tell a client of an error."""
    message = " ".join(str(error).splitlines()[:1]) or type(error).__name__
    message = message.removeprefix("SamplingParams: ")
    match error:
        case ApiError():
            return Failure(error.status, message, error.param, code=error.code)
        case ContextFullError():
            return Failure(400, message, code="context_length_exceeded")
        case QueueFullError():
            return Failure(429, message, retry_after=1)
        case NotReadyError():
            return Failure(503, message, retry_after=2)
        case RequestTimeoutError():
            return Failure(504, message)
        case ClientGoneError():
            return Failure(CLIENT_GONE, message)
        case RequestError() | ChatTemplateError() | TokenizerError():
            return Failure(400, message)
        case ClLlamaError():
            return Failure(500, message)
    return Failure(500, "the server met an error of its own; its log tells more")


def failure_response(path: str, failure: Failure) -> JSONResponse:
    """The answer to a request of `path` that tells what went wrong."""
    return JSONResponse(failure.body(path), failure.status, failure.headers)
