"""What an answer cost, in tokens and in seconds."""

from collections.abc import Sequence

from pydantic import BaseModel

from cl_llama.engine.request import RequestStats


class PromptTokensDetails(BaseModel):
    """More about the prompt's tokens."""

    cached_tokens: int
    """Tokens that were not computed because the cache held them."""


class Usage(BaseModel):
    """Tokens of a request; a prompt counts once, however many answers were asked for."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class Timings(BaseModel):
    """Extension: times of the first answer. A rate is null while there is nothing to divide."""

    queue_seconds: float | None
    seconds_to_first_token: float | None
    prompt_tokens_per_second: float | None
    generated_tokens_per_second: float | None


def usage_of(stats: Sequence[RequestStats], choices_per_prompt: int = 1) -> Usage:
    """The sum over all choices, those of a prompt beside each other."""
    prompts = stats[::choices_per_prompt]
    prompt_tokens = sum(one.prompt_tokens for one in prompts)
    completion_tokens = sum(one.generated_tokens for one in stats)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=PromptTokensDetails(
            cached_tokens=sum(one.cached_tokens for one in prompts)
        ),
    )


def timings_of(stats: RequestStats) -> Timings:
    """A request's times."""
    return Timings(
        queue_seconds=stats.queue_seconds,
        seconds_to_first_token=stats.seconds_to_first_token,
        prompt_tokens_per_second=stats.prompt_tokens_per_second,
        generated_tokens_per_second=stats.generated_tokens_per_second,
    )
