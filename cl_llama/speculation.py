"""Speculation as `Llama.from_pretrained` is asked for it; `engine.speculation` says what it is."""

from typing import Literal, TypeAlias

from cl_llama.engine.speculation.costs import CPU_BLOCKS, CPU_F16, GPU, StepCosts
from cl_llama.engine.speculation.draft import DraftModel
from cl_llama.engine.speculation.lookup import Lookup
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import RequestError
from cl_llama.models.decoder import Decoder
from cl_llama.models.memory import weight_bytes

Speculation: TypeAlias = Literal["lookup", "draft"]

LOOKUP_TOKENS, DRAFT_TOKENS = 15, 7
"""Guesses of a sequence in a step, at most, unless asked for: 16 and 8 rows are what kernels of few
rows take at once."""
_MOST_TOKENS = 64
_LAYER_BYTES = 2_500_000
"""What a layer's launches take of a step's time, in bytes of weights that are read meanwhile."""


def check_speculation(
    speculate: str | None, draft: object | None, draft_tokens: int | None
) -> Speculation | None:
    """What is asked for; RequestError where the options do not go together."""
    if speculate not in (None, "lookup", "draft"):
        raise RequestError(f'speculate must be "lookup", "draft" or None, got {speculate!r}')
    if draft is None and speculate == "draft":
        raise RequestError('speculate="draft" goes with draft, the draft model\'s path')
    if draft is not None and speculate == "lookup":
        raise RequestError('draft goes with speculate="draft", got speculate="lookup"')
    if draft_tokens is not None:
        if not 1 <= draft_tokens <= _MOST_TOKENS:
            raise RequestError(f"draft_tokens must be from 1 to {_MOST_TOKENS}, got {draft_tokens}")
        if draft is None and speculate is None:
            raise RequestError("draft_tokens goes with speculate or draft")
    if draft is not None:
        return "draft"
    return "lookup" if speculate == "lookup" else None


def most_guesses(speculation: Speculation | None, draft_tokens: int | None) -> int:
    """Guesses of a sequence in a step, at most."""
    if speculation is None:
        return 0
    return draft_tokens or (LOOKUP_TOKENS if speculation == "lookup" else DRAFT_TOKENS)


def make_speculator(model: Decoder, draft: Decoder | None, most: int) -> Speculator:
    """Guesses by a draft model, or from the texts themselves; `most` for a sequence in a step."""
    if draft is None:
        return Speculator(Lookup(), step_costs(model), most)
    proposer = DraftModel(
        draft,
        draft_cost(draft, model),
        model.config.vocab_size,
        min(draft.config.max_seq_len, draft.num_blocks * draft.block_size),
    )
    return Speculator(proposer, step_costs(model), most)


def step_costs(model: Decoder) -> StepCosts:
    """What the model's steps cost on its device."""
    if model.runtime.family != "cpu":
        return GPU
    in_blocks = model.memory.weight_bytes < 0.75 * weight_bytes(model.config)
    return CPU_BLOCKS if in_blocks else CPU_F16


def draft_cost(draft: Decoder, model: Decoder) -> float:
    """What a draft model's step of one token costs, in such steps of the model."""
    draft_bytes, model_bytes = (
        decoder.memory.weight_bytes + _LAYER_BYTES * decoder.config.n_layers
        for decoder in (draft, model)
    )
    return draft_bytes / model_bytes
