"""The messages of a conversation, from OpenAI's shape to what chat templates expect."""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cl_llama.server.errors import ApiError
from cl_llama.server.openai.tools.definitions import ToolCall


class ContentPart(BaseModel):
    """A part of a message's content; text is the only kind that is served."""

    model_config = ConfigDict(extra="ignore")

    type: str
    text: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "ContentPart":
        if self.type != "text":
            raise ApiError(
                f"messages: parts of type {self.type!r:.40} are not supported, only text is read",
                param="messages",
            )
        if self.text is None:
            raise ApiError('messages: a part of type "text" has a field text', param="messages")
        return self


class ChatMessage(BaseModel):
    """A message. Other fields than these are passed to the model's template as they are."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = Field(
        default=None, description="The calls of an assistant's message."
    )
    tool_call_id: str | None = Field(
        default=None, description="The call that a tool's message answers."
    )

    @model_validator(mode="after")
    def _check(self) -> "ChatMessage":
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ApiError(
                f"messages: a message of role {self.role!r} has a content", param="messages"
            )
        return self

    def as_template_value(self) -> dict[str, Any]:
        """The message as chat templates expect it: text, the arguments of calls as objects.

        Parts of text become lines; "developer" is what newer models' clients call "system".
        """
        value = self.model_dump(exclude_none=True)
        if self.role == "developer":
            value["role"] = "system"
        if isinstance(self.content, list):
            value["content"] = "\n".join(part.text or "" for part in self.content)
        if self.tool_calls:
            value.setdefault("content", "")
            for call in value["tool_calls"]:
                call["function"]["arguments"] = _arguments(call["function"]["arguments"])
        else:
            value.pop("tool_calls", None)
        return value


def _arguments(text: str) -> Any:
    """An object where the text is one; other text stays as it is."""
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return text
    return arguments if isinstance(arguments, dict) else text
