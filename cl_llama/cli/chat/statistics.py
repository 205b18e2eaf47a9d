"""Sizes and speed of an answer, in words."""

from cl_llama.engine.request import RequestStats


def status_line(stats: RequestStats, used: int, room: int) -> str:
    """The least that a person wants to know: context, speed, cache.

    used, room: tokens of the conversation, and of the context.
    """
    rate = stats.generated_tokens_per_second
    parts = [
        f"context {used} of {room} tokens",
        *([] if rate is None else [f"{rate:.1f} tokens/s"]),
        f"{stats.cached_tokens} of {stats.prompt_tokens} prompt tokens were cached",
    ]
    return " · ".join(parts)


def describe(stats: RequestStats) -> list[str]:
    """All that is known of an answer, in lines."""
    first = stats.seconds_to_first_token
    lines = [
        f"answer    {stats.generated_tokens} tokens{_rate(stats.generated_tokens_per_second)}",
        f"prompt    {stats.prompt_tokens} tokens, {stats.cached_tokens} of them cached, "
        f"{stats.prompt_tokens - stats.cached_tokens} computed"
        f"{_rate(stats.prompt_tokens_per_second)}"
        + ("" if first is None else f", first token after {first:.2f} s"),
    ]
    if stats.draft_tokens:
        lines.append(
            f"guessed   {stats.accepted_draft_tokens} of {stats.draft_tokens} tokens were right"
        )
    return lines


def _rate(value: float | None) -> str:
    return "" if value is None else f" at {value:.1f} tokens/s"
