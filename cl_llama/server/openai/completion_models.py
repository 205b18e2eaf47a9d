"""Requests and answers of /v1/completions."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from cl_llama.server.errors import ApiError
from cl_llama.server.openai.logprobs import CompletionLogprobs
from cl_llama.server.openai.prompts import Prompts
from cl_llama.server.openai.response_format import FormatFields
from cl_llama.server.openai.sampling_fields import MAX_TOP_LOGPROBS, SamplingFields
from cl_llama.server.openai.stream_options import StreamOptions, check_stream_options
from cl_llama.server.openai.usage import Timings, Usage

DEFAULT_MAX_TOKENS = 16

FinishReason = Literal["stop", "length"]


class CompletionRequest(SamplingFields, FormatFields):
    """Texts to continue. Fields that are not listed are ignored."""

    model: str | None = Field(default=None, description="The served model's name, or none.")
    prompt: Prompts = Field(description="A text, texts, token ids, or lists of token ids.")
    max_tokens: int | None = Field(default=None, ge=0, description=f"Default {DEFAULT_MAX_TOKENS}.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    echo: bool | None = Field(default=None, description="Whether the prompt begins the answer.")
    logprobs: int | None = Field(
        default=None, ge=0, le=MAX_TOP_LOGPROBS, description="Of the generated tokens."
    )
    best_of: SkipJsonSchema[Any] = None
    suffix: SkipJsonSchema[Any] = None

    @model_validator(mode="after")
    def _check(self) -> "CompletionRequest":
        if self.suffix not in (None, ""):
            raise ApiError("suffix is not supported: texts go on at their end", param="suffix")
        if self.best_of not in (None, self.n or 1):
            raise ApiError(
                "best_of is not supported; ask for n texts and choose among them", param="best_of"
            )
        if self.echo and self.logprobs is not None:
            raise ApiError(
                "echo and logprobs: those of a prompt's tokens are not told; leave one out",
                param="logprobs",
            )
        check_stream_options(self.stream, self.stream_options)
        return self


class CompletionChoice(BaseModel):
    """One of the texts; in a stream what was added to it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class TextCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    timings: Timings


class TextCompletionChunk(BaseModel):
    """One event of a stream; the last one has usage and no choices, if usage was asked for."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    timings: Timings | None = None
