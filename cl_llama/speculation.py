"""Speculation as `Llama.from_pretrained` is asked for it; `engine.speculation` says what it is."""

from typing import Literal, TypeAlias

from cl_llama.engine.speculation.costs import CPU_BLOCKS, CPU_F16, StepCosts
from cl_llama.engine.speculation.lookup import Lookup
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import RequestError
from cl_llama.models.decoder import Decoder
from cl_llama.models.memory import weight_bytes

Speculation: TypeAlias = Literal["lookup"]

LOOKUP_TOKENS = 15
"""Guesses of a sequence in a step at most: sixteen rows are as many as few-row kernels take."""
_MOST_TOKENS = 64


def check_speculation(speculate: str | None, draft_tokens: int | None) -> None:
    """Raise RequestError where the options do not go together."""
    if speculate not in (None, "lookup"):
        raise RequestError(f'speculate must be "lookup" or None, got {speculate!r}')
    if draft_tokens is None:
        return
    if not 1 <= draft_tokens <= _MOST_TOKENS:
        raise RequestError(f"draft_tokens must be from 1 to {_MOST_TOKENS}, got {draft_tokens}")
    if speculate is None:
        raise RequestError("draft_tokens goes with speculate")


def most_guesses(speculate: Speculation | None, draft_tokens: int | None) -> int:
    """Guesses of a sequence in a step, at most."""
    return 0 if speculate is None else draft_tokens or LOOKUP_TOKENS


def lookup_speculator(model: Decoder, most: int) -> Speculator:
    """Guesses from the texts themselves."""
    return Speculator(Lookup(), step_costs(model), most)


def step_costs(model: Decoder) -> StepCosts:
    """What the model's steps cost on its device."""
    in_blocks = model.memory.weight_bytes < 0.75 * weight_bytes(model.config)
    return CPU_BLOCKS if in_blocks else CPU_F16
