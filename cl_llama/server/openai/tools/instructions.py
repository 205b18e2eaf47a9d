"""Tools for models whose templates know none: told of in the system message, in Hermes' format.

Source of the wording's structure: the function calling prompt that Hermes models were trained on.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def with_instructions(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The conversation with the tools in its system message, and all calls and answers as text."""
    told = [] if not tools else [_instructions(tools)]
    rest = list(messages)
    if rest and rest[0]["role"] == "system":
        told.insert(0, rest.pop(0).get("content") or "")
    result: list[dict[str, Any]] = []
    if told:
        result.append({"role": "system", "content": "\n\n".join(filter(None, told))})
    after_tool = False
    for message in rest:
        plain = _as_text(message)
        if message["role"] == "tool" and after_tool:
            result[-1]["content"] += "\n" + plain["content"]
        else:
            result.append(plain)
        after_tool = message["role"] == "tool"
    return result


def _instructions(tools: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        [
            "You may call functions to answer. Their signatures, one JSON object a line:",
            "<tools>",
            *(json.dumps(tool, ensure_ascii=False) for tool in tools),
            "</tools>",
            "Write each call as one JSON object with the function's name and its arguments:",
            '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call>',
        ]
    )


def _as_text(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with its role and content only."""
    content = message.get("content") or ""
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = [
        "<tool_call>\n" + json.dumps(call["function"], ensure_ascii=False) + "\n</tool_call>"
        for call in message.get("tool_calls") or ()
    ]
    return {"role": message["role"], "content": "\n".join(filter(None, [content, *calls]))}
