"""What the endpoints answer with, as the OpenAPI document tells it, and how streams are sent."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from cl_llama.errors import ClLlamaError
from cl_llama.server.errors import failure_of
from cl_llama.server.openai.sse import DONE, event


class ErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    """The request's field that is to blame."""
    code: str | None


class ErrorBody(BaseModel):
    """The answer to a request that cannot be served."""

    error: ErrorDetails


class ErrorLine(BaseModel):
    """The same, from endpoints that are not OpenAI's."""

    error: str
    """One line."""


_ERRORS: dict[int | str, str] = {
    400: "The request cannot be served as it is.",
    401: "The server asks for another API key.",
    403: "The server does not go by the name in the Host header.",
    404: "There is no such model.",
    408: "The request's body did not come.",
    413: "The request is too large.",
    415: "The request's body is not said to be JSON.",
    429: "Too many requests wait already; Retry-After says when to try again.",
    500: "The device or the server failed.",
    503: "The model is not ready; Retry-After says when to try again.",
    504: "The answer took too long.",
}


def errors(body: type[BaseModel] = ErrorBody) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the errors that every endpoint may answer with."""
    return {status: {"model": body, "description": text} for status, text in _ERRORS.items()}


def answers(chunk: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The same, beside an answer that may be a stream of such chunks."""
    text = (
        f"The answer; with `stream` events of {chunk.__name__} as JSON, and `[DONE]` at the end. "
        "An error after the beginning is the last event."
    )
    example = f"data: {{...}}\n\n{DONE.decode()}"
    stream = {"schema": {"type": "string"}, "example": example}
    return {200: {"description": text, "content": {"text/event-stream": stream}}, **errors()}


def event_stream(chunks: AsyncIterator[BaseModel], path: str) -> StreamingResponse:
    """An answer of events; an error that comes after the beginning is the last one."""

    async def events() -> AsyncIterator[bytes]:
        try:
            async for chunk in chunks:
                yield event(chunk)
            yield DONE
        except ClLlamaError as error:
            yield event(failure_of(error).body(path))

    # The second keeps nginx from collecting events before it passes them on.
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def whole(answer: BaseModel) -> Response:
    """An answer in one piece; of its fields those that were given, even where they are null."""
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")
