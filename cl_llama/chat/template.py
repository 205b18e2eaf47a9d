"""A model's chat templates, ready to write conversations."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from cl_llama.chat.files import DEFAULT
from cl_llama.chat.renderer import Renderer
from cl_llama.errors import ChatTemplateError, RequestError

Message: TypeAlias = Mapping[str, Any]
"""{"role": "system", "user" or "assistant", "content": ...}, and what else a template knows."""


class ChatTemplate:
    """Writes messages as the text of a prompt; may be used from several threads."""

    def __init__(
        self, templates: Mapping[str, str], special_tokens: Mapping[str, str] | None = None
    ) -> None:
        """templates: sources by name, one of them "default" unless there is only one.

        special_tokens: spellings that templates use, such as "bos_token".
        """
        self._templates = templates
        self._special_tokens = special_tokens or {}
        self._renderer = Renderer()

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **values: Any,
    ) -> str:
        """The prompt of a conversation, as transformers renders it.

        tools: JSON schemas of functions that the model may call; the template named "tool_use" is
        taken for them, where there is one. documents: what the model may quote. values: variables
        of the template's own, such as "enable_thinking". add_generation_prompt: end with the
        beginning of the assistant's answer.

        Raises RequestError for messages that the template refuses, ChatTemplateError for a
        template that is damaged or takes too long.
        """
        return self._renderer.render(
            self._choose(tools),
            {
                **self._special_tokens,
                "messages": [_checked(message) for message in messages],
                "tools": None if tools is None else list(tools),
                "documents": None if documents is None else list(documents),
                "add_generation_prompt": add_generation_prompt,
                **values,
            },
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the templates and their special tokens, in hexadecimal: equal if they are."""
        content = json.dumps([dict(self._templates), dict(self._special_tokens)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def close(self) -> None:
        """End the process that renders."""
        self._renderer.close()

    def _choose(self, tools: Sequence[Mapping[str, Any]] | None) -> str:
        if tools is not None and "tool_use" in self._templates:
            return self._templates["tool_use"]
        if DEFAULT in self._templates:
            return self._templates[DEFAULT]
        if len(self._templates) == 1:
            return next(iter(self._templates.values()))
        raise ChatTemplateError(
            "chat: the model brings several templates and none of them is the default; name one "
            f"with chat_template (--chat-template): {', '.join(self._templates)}"
        )


def _checked(message: Message) -> dict[str, Any]:
    """The message without what is None: templates ask whether a key is there."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise RequestError(
            f'chat: a message must be {{"role": ..., "content": ...}}, got {message!r:.80}'
        )
    return {key: value for key, value in message.items() if value is not None}
