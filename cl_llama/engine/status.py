"""What an engine is doing and what it has done, for those who watch it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

EngineState: TypeAlias = Literal["ready", "rebuilding", "closed"]


@dataclass
class Totals:
    """What an engine has done since it began. Only its thread counts, before it tells a request."""

    prompt_tokens: int = 0
    """Of all prompts that were begun, those found in the cache included."""
    cached_tokens: int = 0
    """Prompt tokens that were found in the cache."""
    generated_tokens: int = 0
    steps: int = 0
    """Runs of the model, failed ones included."""
    rebuilds: int = 0
    """Times that the model was loaded anew after its device failed."""
    draft_tokens: int = 0
    """Tokens that were proposed by speculation."""
    accepted_draft_tokens: int = 0
    """Those of them that the model chose, too."""


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """Sizes of the scheduler's queues and its pool."""

    running: int = 0
    waiting: int = 0
    blocks_held: int = 0
    blocks_idle: int = 0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """An engine at one moment; the totals are `Totals`'."""

    state: EngineState
    running: int
    """Requests that take part in steps."""
    waiting: int
    """Requests that do not yet, or were preempted."""
    cache_blocks: int
    cache_blocks_held: int
    """By running requests."""
    cache_blocks_idle: int
    """Held by nobody; kept for prompts that begin alike until others need them."""
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    preemptions: int
    """Times that a request gave its blocks to an older one and was computed anew."""
    steps: int
    rebuilds: int
    draft_tokens: int
    accepted_draft_tokens: int
