"""The grammar of an answer that may, or must, call functions: llguidance's dialect of Lark."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cl_llama.server.openai.schemas import prepared
from cl_llama.server.openai.tools.definitions import FunctionDefinition
from cl_llama.server.openai.tools.formats import NAME, ToolFormat

_SPACE = '" "?'
"""Where a text, or one after a special token, begins: SentencePiece's words bring a space along."""
_OPTIONS = {"whitespace_pattern": " ?"}
"""A space at most between the parts of JSON: that is how templates write it."""


def tool_grammar(
    tool_format: ToolFormat,
    functions: Sequence[FunctionDefinition],
    marker_ids: Mapping[str, int],
    *,
    required: bool,
    parallel: bool,
) -> str:
    """An answer with calls of these functions.

    marker_ids: the format's markers that are special tokens. required: calls and nothing else;
    otherwise the answer may be text, or calls after text. parallel: more than one call is allowed.
    """
    return "\n".join(
        [
            f"start: {_start(tool_format, marker_ids, required)}",
            f"calls: {_calls(tool_format, marker_ids, parallel)}",
            "call: " + " | ".join(f"call_{number}" for number in range(len(functions))),
            *(
                rule
                for number, function in enumerate(functions)
                for rule in _call(tool_format, function, number, marker_ids)
            ),
            "",
        ]
    )


def _start(tool_format: ToolFormat, marker_ids: Mapping[str, int], required: bool) -> str:
    opening = tool_format.opening
    token = _literal(opening, marker_ids)
    if tool_format.bare:
        opener = token if opening in marker_ids else ""
        if required:
            return f"{_SPACE} {opener}? calls" if opener else f"{_SPACE} calls"
        # A text whose first character is a brace would be taken for calls.
        return rf"""TEXT | {_SPACE} calls{f" | TEXT? {opener} calls" if opener else ""}
TEXT: /\s*([^{{\s](.|\n)*)?/"""
    if required:
        return f"{_SPACE} {token} calls"
    if opening in marker_ids:
        return f"TEXT? ({token} calls)?\nTEXT: /(.|\\n)*/"
    return rf"""TEXT | until_calls calls
until_calls[lazy]: TEXT {token}
TEXT: /(.|\n)*/"""


def _calls(tool_format: ToolFormat, marker_ids: Mapping[str, int], parallel: bool) -> str:
    parts = ["" if tool_format.bare else _SPACE, _literal(tool_format.lead, marker_ids), "call"]
    if parallel:
        parts.append(f"({_literal(tool_format.between, marker_ids)} call)*")
    parts.append(_literal(tool_format.end, marker_ids))
    return " ".join(filter(None, parts))


def _call(
    tool_format: ToolFormat,
    function: FunctionDefinition,
    number: int,
    marker_ids: Mapping[str, int],
) -> list[str]:
    head = _literal(tool_format.head.replace(NAME, function.name), marker_ids)
    tail = _literal(tool_format.tail, marker_ids)
    return [
        f"call_{number}: {head} arguments_{number} {tail}",
        f"arguments_{number}: %json {json.dumps(arguments_schema(function))}",
    ]


def arguments_schema(function: FunctionDefinition) -> dict[str, Any]:
    """The schema of a function's arguments, which are always an object."""
    schema = dict(function.parameters or {"properties": {}})
    schema["type"] = "object"
    return prepared(schema, function.strict, **_OPTIONS)


def _literal(text: str, marker_ids: Mapping[str, int]) -> str:
    """A text as the grammar's terminals, markers as their tokens."""
    if not marker_ids:
        return json.dumps(text) if text else ""
    parts = re.split("(" + "|".join(map(re.escape, marker_ids)) + ")", text)
    return " ".join(
        f"<[{marker_ids[part]}]>" if part in marker_ids else json.dumps(part)
        for part in parts
        if part
    )
