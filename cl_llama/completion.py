"""What a model made of a prompt, once all of it is there."""

from dataclasses import dataclass

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.request import FinishReason, RequestStats
from cl_llama.text_stream import TextStream


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model made of a prompt."""

    text: str
    """The generated text, cut before a stop string; empty if the model has no tokenizer."""
    token_ids: list[int]
    """The generated tokens, including an end token or those of a stop string."""
    finish_reason: FinishReason
    """"stop": an end token or stop string; "length": no more tokens allowed; "cancelled"."""
    prompt_token_ids: list[int]
    logprobs: list[float] | None
    """Each token's log-probability by the model itself, if `SamplingParams.logprobs` asks."""
    top_logprobs: list[tuple[tuple[int, float], ...]] | None
    """For each token the likeliest (token id, log-probability) in its place, best first."""
    stats: RequestStats


def completion_of(stream: TextStream, params: SamplingParams) -> Completion:
    """Read a stream to its end."""
    pieces = list(stream)
    reason = pieces[-1].finish_reason
    assert reason is not None
    tokens = [piece for piece in pieces if piece.token_id is not None]
    scored = params.logprobs is not None
    return Completion(
        text="".join(piece.text for piece in pieces),
        token_ids=[piece.token_id for piece in tokens if piece.token_id is not None],
        finish_reason=reason,
        prompt_token_ids=stream.prompt_token_ids,
        logprobs=[p.logprob for p in tokens if p.logprob is not None] if scored else None,
        top_logprobs=[piece.top_logprobs for piece in tokens] if scored else None,
        stats=stream.stats,
    )
