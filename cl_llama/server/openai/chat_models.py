"""Requests and answers of /v1/chat/completions."""

from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from cl_llama.server.errors import ApiError
from cl_llama.server.openai.logprobs import ChatLogprobs
from cl_llama.server.openai.messages import ChatMessage
from cl_llama.server.openai.response_format import FormatFields
from cl_llama.server.openai.sampling_fields import MAX_TOP_LOGPROBS, SamplingFields
from cl_llama.server.openai.stream_options import StreamOptions, check_stream_options
from cl_llama.server.openai.tools.definitions import Tool, ToolCall, ToolCallDelta, ToolChoice
from cl_llama.server.openai.usage import Timings, Usage

_UNSUPPORTED = {
    "audio": "",
    "functions": "; use tools",
    "function_call": "; use tool_choice",
    "web_search_options": "",
}
"""Fields of OpenAI's API, with what to use instead."""
_TEMPLATE_VALUES = frozenset({"messages", "tools", "documents", "add_generation_prompt"})

FinishReason = Literal["stop", "length", "tool_calls"]


class ChatRequest(SamplingFields, FormatFields):
    """A conversation to answer. Fields that are not listed are ignored."""

    model: str | None = Field(default=None, description="The served model's name, or none.")
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(
        default=None, ge=1, description="Default: until the context is full."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="The older name of max_completion_tokens."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_LOGPROBS)
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: ToolChoice | None = Field(
        default=None, description='Default: "auto" where there are tools.'
    )
    parallel_tool_calls: bool | None = Field(
        default=None, description="Whether an answer may have several calls; default true."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="Extension: variables of the model's template."
    )
    continue_final_message: bool | None = Field(
        default=None,
        description="Extension: the last message, the assistant's, is the answer's beginning; the "
        "answer is what follows it.",
    )
    modalities: SkipJsonSchema[Any] = None
    audio: SkipJsonSchema[Any] = None
    functions: SkipJsonSchema[Any] = None
    function_call: SkipJsonSchema[Any] = None
    web_search_options: SkipJsonSchema[Any] = None

    @model_validator(mode="after")
    def _check(self) -> "ChatRequest":
        for name, instead in _UNSUPPORTED.items():
            if getattr(self, name) is not None:
                raise ApiError(f"{name} is not supported{instead}", param=name)
        if self.modalities not in (None, [], ["text"]):
            raise ApiError(
                'modalities: expected ["text"]; no others are written', param="modalities"
            )
        if self.continue_final_message and not self._is_begun_answer(self.messages[-1]):
            raise ApiError(
                "continue_final_message: the last message must be the assistant's, with text and "
                "without tool_calls",
                param="continue_final_message",
            )
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError("top_logprobs needs logprobs to be true", param="top_logprobs")
        if taken := _TEMPLATE_VALUES & (self.chat_template_kwargs or {}).keys():
            raise ApiError(
                f"chat_template_kwargs: {min(taken)} comes from the request's own fields",
                param="chat_template_kwargs",
            )
        check_stream_options(self.stream, self.stream_options)
        return self

    @staticmethod
    def _is_begun_answer(message: ChatMessage) -> bool:
        return message.role == "assistant" and bool(message.content) and not message.tool_calls

    @property
    def max_new_tokens(self) -> int | None:
        """The limit under whichever name it was given; None: none."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens


class AnswerMessage(BaseModel):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings


class MessageDelta(BaseModel):
    """More of what the assistant says; `role` comes first."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(BaseModel):
    """More of one of the answers."""

    index: int
    delta: MessageDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(BaseModel):
    """One event of a stream; the last one has usage and no choices, if usage was asked for."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    timings: Timings | None = None
