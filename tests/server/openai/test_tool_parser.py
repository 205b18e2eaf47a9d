"""Calls are told from text, however the answer is cut into pieces."""

import json

import pytest

from cl_llama.server.openai.tools.formats import (
    HERMES,
    JSON,
    LLAMA,
    MISTRAL,
    MISTRAL_V11,
    NAME,
    ToolFormat,
)
from cl_llama.server.openai.tools.parser import CallDelta, TextDelta, ToolCallParser

ARGUMENTS = ['{"city": "K\\"}öln", "days": [1, {"a": "]"}]}', "{}"]
FORMATS = (HERMES, MISTRAL, MISTRAL_V11, LLAMA, JSON)


def written(tool_format: ToolFormat) -> str:
    """Two calls as the format has them."""
    calls = [
        tool_format.head.replace(NAME, f"get_{number}") + arguments + tool_format.tail
        for number, arguments in enumerate(ARGUMENTS)
    ]
    opening = "" if tool_format.bare else tool_format.opening
    return opening + tool_format.lead + tool_format.between.join(calls) + tool_format.end


def read(parser: ToolCallParser, pieces: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """The text and the calls, names and arguments."""
    deltas = [delta for piece in pieces for delta in parser.push(piece)] + parser.finish()
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        if isinstance(delta, CallDelta):
            if delta.name is not None:
                assert delta.index == len(calls)
                calls.append((delta.name, ""))
            name, arguments = calls[delta.index]
            calls[delta.index] = name, arguments + delta.arguments
    return text, calls


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("tool_format", FORMATS, ids=lambda one: one.name)
def test_calls(tool_format: ToolFormat, size: int):
    text = " " + written(tool_format)
    parser = ToolCallParser(tool_format)
    said, calls = read(parser, [text[i : i + size] for i in range(0, len(text), size)])
    assert said == ""
    assert calls == [(f"get_{number}", arguments) for number, arguments in enumerate(ARGUMENTS)]
    assert parser.has_calls
    assert all(json.loads(arguments) is not None for _, arguments in calls)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("tool_format", [HERMES, MISTRAL, MISTRAL_V11], ids=lambda one: one.name)
def test_text_before_calls(tool_format: ToolFormat, size: int):
    text = "I <tool shall [TOOL look: " + written(tool_format)
    said, calls = read(
        ToolCallParser(tool_format), [text[i : i + size] for i in range(0, len(text), size)]
    )
    assert said == "I <tool shall [TOOL look: "
    assert [name for name, _ in calls] == ["get_0", "get_1"]


@pytest.mark.parametrize("text", ["", "  ", "no {braces}", " <tool_cal", "[TOOL_CALLS"])
@pytest.mark.parametrize("tool_format", FORMATS, ids=lambda one: one.name)
def test_text_without_calls(tool_format: ToolFormat, text: str):
    parser = ToolCallParser(tool_format)
    assert read(parser, list(text)) == (text, [])
    assert not parser.has_calls


def test_special_tokens_open_calls_and_their_spelling_does_not():
    parser = ToolCallParser(MISTRAL, {7: "[TOOL_CALLS]"})
    said = parser.push("[TOOL_CALLS]", 1)
    assert said == [TextDelta("[TOOL_CALLS]")]
    assert parser.push("", 7) == []
    assert parser.push('[{"name": "f", "arguments": {', 2) == [
        CallDelta(0, "f", ""),
        CallDelta(0, None, "{"),
    ]
    assert not parser.has_calls
    assert parser.push("}}]", 2) == [CallDelta(0, None, "}")]
    assert parser.has_calls

    parser = ToolCallParser(MISTRAL_V11, {7: "[TOOL_CALLS]", 8: "[ARGS]"})
    pieces = [("Hm", 1), ("", 7), ("f", 1), ("", 8), ("{}", 1), ("", 7), ("g", 1), ("", 8)]
    deltas = [delta for text, token_id in pieces for delta in parser.push(text, token_id)]
    assert deltas == [
        TextDelta("Hm"),
        CallDelta(0, "f", ""),
        CallDelta(0, None, "{}"),
        CallDelta(1, "g", ""),
    ]

    parser = ToolCallParser(LLAMA, {7: "<|python_tag|>"})
    assert parser.push(" ", 1) == parser.push("", 7) == []
    assert parser.push('{"name": "f", "parameters": {}}', 1)[0] == CallDelta(0, "f", "")
