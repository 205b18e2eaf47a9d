"""Reads calls out of an answer while it arrives."""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from cl_llama.server.openai.tools.formats import ToolFormat


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A call's beginning, with its function's name, or more of its arguments."""

    index: int
    """The call's number in the answer, from 0."""
    name: str | None
    """Given once, by the call's first delta."""
    arguments: str
    """More of the JSON text."""


Delta: TypeAlias = TextDelta | CallDelta


class _State(enum.Enum):
    BEGINNING = "nothing but white space so far, which is no text if a call follows it"
    TEXT = "text"
    HEAD = "before a call's arguments"
    ARGUMENTS = "in a call's arguments"


class ToolCallParser:
    """Tells calls from text in one answer. Expects calls as the format's grammar allows them."""

    def __init__(self, tool_format: ToolFormat, marker_ids: dict[int, str] | None = None) -> None:
        """marker_ids: the format's markers that are special tokens, which no text shows."""
        self._format = tool_format
        self._marker_ids = marker_ids or {}
        self._opening = tool_format.opening
        if self._opening in self._marker_ids.values():
            self._opening = ""  # its token opens, its spelling is text
        self._head = tool_format.head_pattern
        self._held = ""
        self._state = _State.BEGINNING
        self._calls = 0
        self._depth = 0
        self._in_string = self._escaped = False

    @property
    def has_calls(self) -> bool:
        """Whether there are calls, and the last one's arguments are complete."""
        return self._calls > 0 and self._state is not _State.ARGUMENTS

    def push(self, text: str, token_id: int | None = None) -> list[Delta]:
        """What became known with a token, and with the text that it made final."""
        marker = self._marker_ids.get(token_id) if token_id is not None else None
        deltas: list[Delta] = []
        if marker is not None:
            if self._state in (_State.BEGINNING, _State.TEXT) and marker == self._format.opening:
                if self._state is _State.TEXT:
                    deltas += self._give_text(len(self._held))
                self._held, self._state = "", _State.HEAD
            else:
                text = marker + text
        self._held += text
        while self._held:
            before = self._state, len(self._held)
            deltas += self._advance()
            if (self._state, len(self._held)) == before:
                break
        return deltas

    def finish(self) -> list[Delta]:
        """What was held back until the end; a call whose name is not complete is none."""
        if self._state in (_State.BEGINNING, _State.TEXT):
            return self._give_text(len(self._held))
        return []

    def _advance(self) -> list[Delta]:
        """Use what can be used of the text at hand; it uses nothing if it must wait for more."""
        if self._state is _State.BEGINNING:
            return self._begin()
        if self._state is _State.TEXT:
            return self._read_text()
        if self._state is _State.HEAD:
            return self._read_head()
        return self._read_arguments()

    def _begin(self) -> list[Delta]:
        start = self._held.lstrip()
        if start:
            calls = start.startswith("{") if self._format.bare else self._opens(start)
            if calls is None:
                return []
            self._state = _State.HEAD if calls else _State.TEXT
        return []

    def _opens(self, text: str) -> bool | None:
        """Whether a text begins with the opening; None while that cannot be known."""
        if not self._opening:
            return False
        if text.startswith(self._opening):
            return True
        return None if self._opening.startswith(text) else False

    def _read_text(self) -> list[Delta]:
        if not self._opening:
            return self._give_text(len(self._held))
        start = self._held.find(self._opening)
        if start < 0:
            return self._give_text(len(self._held) - self._overlap())
        deltas = self._give_text(start)
        self._held = self._held[len(self._opening) :]
        self._state = _State.HEAD
        return deltas

    def _read_head(self) -> list[Delta]:
        match = self._head.search(self._held)
        if match is None:
            return []
        self._held = self._held[match.end() :]
        self._state = _State.ARGUMENTS
        self._calls += 1
        return [CallDelta(self._calls - 1, match[1], "")]

    def _read_arguments(self) -> list[Delta]:
        end = self._end_of_arguments()
        text, self._held = self._held[:end], self._held[end:]
        if self._depth == 0:
            self._state = _State.HEAD
        return [CallDelta(self._calls - 1, None, text)]

    def _end_of_arguments(self) -> int:
        """How much of the text at hand belongs to the arguments, a JSON object."""
        for position, character in enumerate(self._held):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return position + 1
        return len(self._held)

    def _give_text(self, length: int) -> list[Delta]:
        text, self._held = self._held[:length], self._held[length:]
        return [TextDelta(text)] if text else []

    def _overlap(self) -> int:
        """Length of the longest end of the text at hand that may begin the opening."""
        for length in range(min(len(self._opening) - 1, len(self._held)), 0, -1):
            if self._opening.startswith(self._held[-length:]):
                return length
        return 0
