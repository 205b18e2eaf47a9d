"""How an answer is streamed."""

from pydantic import BaseModel, ConfigDict

from cl_llama.server.errors import ApiError


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool | None = None
    """Whether a last event tells of usage."""


def check_stream_options(stream: bool | None, options: StreamOptions | None) -> None:
    """Raise ApiError for options of an answer that is not streamed."""
    if options is not None and not stream:
        raise ApiError("stream_options needs stream to be true", param="stream_options")
