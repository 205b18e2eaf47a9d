"""How families of models write calls of functions.

    hermes       <tool_call>\\n{"name": N, "arguments": A}\\n</tool_call>, again for every call:
                 Hermes, Qwen 2.5, Qwen 3 and many that were trained after them
    mistral      [TOOL_CALLS][{"name": N, "arguments": A}, ...]: Mistral's tokenizers up to v7
    mistral_v11  [TOOL_CALLS]N[ARGS]A, again for every call: later ones
    llama        {"name": N, "parameters": A}, joined by "; ", perhaps after <|python_tag|>: an
                 answer that begins with a brace is a call; Llama 3.1, 3.2, 3.3
    json         {"name": N, "arguments": A} in the same way

Sources: the chat templates of these models, and their makers' descriptions of their prompts.
"""

import re
from dataclasses import dataclass

NAME = "\0"
"""Stands for the function's name in `ToolFormat.head`."""


@dataclass(frozen=True)
class ToolFormat:
    """Calls are `opening lead call (between call)* end`; a call is `head arguments tail`."""

    name: str
    opening: str
    """What begins the calls, after the text or without any; perhaps a special token."""
    lead: str
    head: str
    """With `NAME` in it."""
    tail: str
    between: str
    end: str
    bare: bool = False
    """Whether an answer that begins with a brace is calls, too, without the opening."""
    parallel: bool = True
    """Whether an answer may have several calls."""
    short_ids: bool = False
    """Whether the template wants ids of calls to be nine letters or digits."""

    @property
    def markers(self) -> tuple[str, ...]:
        """What may be special tokens of the vocabulary rather than text."""
        found = (self.opening, "[ARGS]" if "[ARGS]" in self.head else "")
        return tuple(filter(None, found))

    @property
    def head_pattern(self) -> re.Pattern[str]:
        """Finds the next call's head, and in it the name."""
        before, after = self.head.split(NAME)
        return re.compile(re.escape(before) + r"([A-Za-z0-9_.-]+)" + re.escape(after))


def _json_head(key: str) -> str:
    return f'{{"name": "{NAME}", "{key}": '


HERMES = ToolFormat(
    "hermes",
    opening="<tool_call>",
    lead="\n",
    head=_json_head("arguments"),
    tail="}",
    between="\n</tool_call>\n<tool_call>\n",
    end="\n</tool_call>",
)
MISTRAL = ToolFormat(
    "mistral",
    opening="[TOOL_CALLS]",
    lead="[",
    head=_json_head("arguments"),
    tail="}",
    between=", ",
    end="]",
    short_ids=True,
)
MISTRAL_V11 = ToolFormat(
    "mistral_v11",
    opening="[TOOL_CALLS]",
    lead="",
    head=f"{NAME}[ARGS]",
    tail="",
    between="[TOOL_CALLS]",
    end="",
    short_ids=True,
)
LLAMA = ToolFormat(
    "llama",
    opening="<|python_tag|>",
    lead="",
    head=_json_head("parameters"),
    tail="}",
    between="; ",
    end="",
    bare=True,
)
JSON = ToolFormat(
    "json",
    opening="",
    lead="",
    head=_json_head("arguments"),
    tail="}",
    between="; ",
    end="",
    bare=True,
)
