"""The tools of a request: what the model is told of them, and how its calls are bound and read."""

import json
import secrets
import string
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_llama.engine.sampling import LogitMask
from cl_llama.errors import RequestError
from cl_llama.llm import Llama
from cl_llama.server.errors import ApiError
from cl_llama.server.openai.tools.definitions import FunctionDefinition, NamedTool, Tool, ToolChoice
from cl_llama.server.openai.tools.detection import special_markers, template_format
from cl_llama.server.openai.tools.formats import HERMES, ToolFormat
from cl_llama.server.openai.tools.grammar import arguments_schema, tool_grammar
from cl_llama.server.openai.tools.instructions import with_instructions
from cl_llama.server.openai.tools.parser import ToolCallParser

_formats: "weakref.WeakKeyDictionary[Llama, ToolFormat | None]" = weakref.WeakKeyDictionary()


def format_of(llm: Llama) -> ToolFormat | None:
    """The format of the model's template, found once; None for a template without tools."""
    if llm not in _formats:
        _formats[llm] = template_format(llm.chat_prompt)
    return _formats[llm]


@dataclass(frozen=True)
class ToolUse:
    """How the calls of one request's answers are bound and read."""

    format: ToolFormat
    marker_ids: Mapping[str, int]
    grammar: str

    def mask(self, llm: Llama) -> LogitMask:
        """A fresh mask for one answer. Blocks while the grammar is compiled."""
        return llm.grammars.lark(self.grammar).mask()

    def parser(self) -> ToolCallParser:
        """A reader for one answer."""
        return ToolCallParser(
            self.format, {token_id: marker for marker, token_id in self.marker_ids.items()}
        )

    def new_id(self) -> str:
        """An id for a call."""
        letters = string.ascii_letters + string.digits
        short = self.format.short_ids
        name = "".join(secrets.choice(letters) for _ in range(9 if short else 24))
        return name if short else f"call_{name}"


def tool_use(
    llm: Llama, tools: Sequence[Tool], choice: ToolChoice | None, parallel: bool
) -> ToolUse | None:
    """What answers may call; None if they are to call nothing. Blocks.

    Raises ApiError for a choice that names no tool and for schemas that cannot be kept.
    """
    if isinstance(choice, NamedTool):
        functions = [tool.function for tool in tools if tool.function.name == choice.function.name]
        if not functions:
            raise ApiError(
                f"tool_choice: there is no tool named {choice.function.name!r}", param="tool_choice"
            )
        parallel = False
    else:
        functions = [tool.function for tool in tools]
    if choice == "required" and not functions:
        raise ApiError("tool_choice: there are no tools to call", param="tool_choice")
    if choice == "none" or not functions:
        return None
    tool_format = format_of(llm) or HERMES
    marker_ids = special_markers(tool_format, llm.tokenizer)
    grammar = tool_grammar(
        tool_format,
        functions,
        marker_ids,
        required=choice == "required" or isinstance(choice, NamedTool),
        parallel=parallel and tool_format.parallel,
    )
    try:
        llm.grammars.lark(grammar)
    except RequestError as error:
        raise _blame(llm, functions, error) from None
    return ToolUse(tool_format, marker_ids, grammar)


def prompt_values(
    llm: Llama, messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]
) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """Messages and values for the template, the tools in the one or the other. May block."""
    told = [tool.as_template_value() for tool in tools]
    has_calls = any(message["role"] == "tool" or "tool_calls" in message for message in messages)
    if not told and not has_calls:
        return messages, {}
    if format_of(llm) is None:
        return with_instructions(messages, told), {}
    return messages, {"tools": told} if told else {}


def _blame(llm: Llama, functions: Sequence[FunctionDefinition], error: RequestError) -> ApiError:
    """The error of a grammar, told of the function whose schema it is about."""
    for function in functions:
        try:
            llm.grammars.json_schema(json.dumps(arguments_schema(function)))
        except RequestError as own:
            return ApiError(f"tools: parameters of {function.name}: {own}", param="tools")
    return ApiError(f"tools: {error}", param="tools")
