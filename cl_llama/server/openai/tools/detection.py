"""Which format a model's template teaches it, found by having it write a call of a function."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from cl_llama.errors import ClLlamaError
from cl_llama.server.openai.tools.formats import (
    HERMES,
    JSON,
    LLAMA,
    MISTRAL,
    MISTRAL_V11,
    ToolFormat,
)
from cl_llama.tokenizers import Tokenizer

_NAME = "probe_of_tools"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Probe",
        "parameters": {
            "type": "object",
            "properties": {"key": {"type": "string", "description": "Key"}},
            "required": ["key"],
        },
    },
}
_QUESTION = {"role": "user", "content": "Question"}
_CALL = {
    "id": "abcdef123",
    "type": "function",
    "function": {"name": _NAME, "arguments": {"key": "value"}},
}
_HEADS = (
    (MISTRAL_V11, rf"\[TOOL_CALLS\]\s*{_NAME}.*?\[ARGS\]\s*\{{"),
    (MISTRAL, rf'\[TOOL_CALLS\]\s*\[\s*\{{"name": ?"{_NAME}", ?"arguments": ?\{{'),
    (HERMES, rf'<tool_call>\s*\{{"name": ?"{_NAME}", ?"arguments": ?\{{'),
    (LLAMA, rf'\{{"name": ?"{_NAME}", ?"parameters": ?\{{'),
    (JSON, rf'\{{"name": ?"{_NAME}", ?"arguments": ?\{{'),
)
"""In this order: the patterns of the last ones are parts of others' calls."""


class RenderTemplate(Protocol):
    """`Llama.chat_prompt`."""

    def __call__(self, messages: Sequence[Mapping[str, Any]], **values: Any) -> str:
        """The prompt of a conversation."""
        ...


def template_format(render: RenderTemplate) -> ToolFormat | None:
    """The format of the calls that a template writes.

    None for a template that does not tell the model of tools, or writes calls in a way that is not
    known here.
    """
    try:
        if _NAME not in render([_QUESTION], tools=[_TOOL]):
            return None
        text = _with_calls(render, 1)
    except ClLlamaError:
        return None
    found = next((one for one, head in _HEADS if re.search(head, text, re.DOTALL)), None)
    if found is not None:
        try:
            _with_calls(render, 2)
        except ClLlamaError:
            return replace(found, parallel=False)
    return found


def _with_calls(render: RenderTemplate, count: int) -> str:
    """A question, and an answer with calls."""
    answer = {"role": "assistant", "content": "", "tool_calls": [_CALL] * count}
    return render([_QUESTION, answer], tools=[_TOOL], add_generation_prompt=False)


def special_markers(tool_format: ToolFormat, tokenizer: Tokenizer) -> dict[str, int]:
    """The format's markers that are special tokens, which a text does not show, and their ids."""
    found = {}
    for marker in tool_format.markers:
        ids = tokenizer.encode(marker, add_bos=False, special=True)
        if (
            len(ids) == 1
            and tokenizer.piece(ids[0]) == marker
            and not tokenizer.token_bytes(ids[0])
        ):
            found[marker] = ids[0]
    return found
