"""Prompts of the endpoints that take text as it is: one or several, as text or as token ids."""

from typing import Annotated, TypeAlias

from pydantic import Field

MAX_PROMPTS = 2048

TokenId: TypeAlias = Annotated[int, Field(ge=0, le=2**31 - 1)]
Prompts: TypeAlias = (
    str
    | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[
        list[Annotated[list[TokenId], Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_PROMPTS),
    ]
)
"""A text, texts, token ids, or lists of token ids."""


def each_prompt(prompts: Prompts) -> list[str | list[int]]:
    """The prompts one by one."""
    if isinstance(prompts, str):
        return [prompts]
    found: list[str | list[int]] = []
    ids: list[int] = []
    for item in prompts:
        if isinstance(item, int):
            ids.append(item)
        else:
            found.append(item)
    return found or [ids]
