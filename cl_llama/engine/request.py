"""One request as the caller sees it: tokens as they come, an end, a way to cancel it."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling import Choice
from cl_llama.errors import ClLlamaError, RequestError

FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A generated token."""

    token_id: int
    probability: float
    """With which the sampler's settings chose it; greedy: 1."""
    logprob: float | None
    """Natural log of the model's own probability of it; None unless asked for."""
    top_logprobs: tuple[tuple[int, float], ...]
    """The likeliest (token id, log-probability) at this step, best first, as many as asked for."""
    finish_reason: FinishReason | None
    """Why the text ends with this token; None if it goes on."""
    logits_V: NDArray[np.float32] | None = field(default=None, compare=False)
    """The model's own in the token's place, if `SamplingParams.logits` asks for them."""


@dataclass(frozen=True, slots=True)
class RequestStats:
    """Sizes and times of a request so far. Rates are None while there is nothing to divide."""

    prompt_tokens: int
    cached_tokens: int
    """Prompt tokens that were not computed because the cache held them."""
    generated_tokens: int
    queue_seconds: float | None
    """From submission to the first step that computes it."""
    seconds_to_first_token: float | None
    """From submission."""
    prompt_tokens_per_second: float | None
    """Computed prompt tokens over the time from the first step to the first token."""
    generated_tokens_per_second: float | None
    """Tokens after the first over the time since the first."""
    draft_tokens: int
    """Tokens that speculation guessed and the model was run on."""
    accepted_draft_tokens: int
    """Those of them that were chosen, too."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished request."""

    events: tuple[TokenEvent, ...]
    finish_reason: FinishReason
    stats: RequestStats

    @property
    def token_ids(self) -> list[int]:
        """The generated tokens, an end token included."""
        return [event.token_id for event in self.events]


class Request:
    """A submitted prompt. All methods may be called from any thread, and waits end on Ctrl-C."""

    def __init__(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        stop_ids: frozenset[int],
        wake_engine: Callable[[], None],
    ) -> None:
        """Made by `Engine.submit`."""
        self.prompt_ids = tuple(prompt_ids)
        self.params = params
        self.stop_ids = stop_ids
        """The tokens that end the text."""
        self.cancel_requested = False
        self._wake_engine = wake_engine
        self._changed = threading.Condition()
        self._events: list[TokenEvent] = []
        self._prompt_rows: deque[NDArray[np.float32]] = deque()
        self._finish_reason: FinishReason | None = None
        self._error: ClLlamaError | None = None
        self._cached_tokens = 0
        self._draft_tokens = 0
        self._accepted_draft_tokens = 0
        self._submitted_at = time.perf_counter()
        self._started_at: float | None = None
        self._first_at: float | None = None
        self._last_at: float | None = None
        self._subscriber: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[TokenEvent]:
        """All tokens from the first on, each as soon as it is there.

        Raises the request's error, if it ends with one, after the tokens that came before it.
        """
        for index in itertools.count():
            event = self.event(index)
            if event is None:
                return
            yield event

    def event(self, index: int) -> TokenEvent | None:
        """Wait for the token at `index`; None if the text ends before. Raises as iteration does."""
        with self._changed:
            while index >= len(self._events) and self._finish_reason is None:
                self._changed.wait()
            if index < len(self._events):
                return self._events[index]
            self._raise_error()
            return None

    def has_event(self, index: int) -> bool:
        """Whether `event(index)` would return, or raise, at once."""
        with self._changed:
            return index < len(self._events) or self._finish_reason is not None

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call back after every change from now on, and once at once; for one subscriber.

        The calls come from the engine's thread: they must be quick, must not raise, and may ask
        `has_event` or wake an event loop.
        """
        with self._changed:
            self._subscriber = callback
        callback()

    def prompt_logits(self) -> Iterator[NDArray[np.float32]]:
        """The logits after every prompt token, in order, as float32 [n, V] for some n each.

        For a request submitted with `prompt_logits=True`; each array is handed out once.
        """
        return self._take_rows()

    def prompt_logprobs(self) -> Iterator[NDArray[np.float32]]:
        """The targets' log-probabilities, in order, as float32 [n] for some n each.

        For a request submitted with `targets`; each array is handed out once.
        """
        return self._take_rows()

    def embedding(self) -> NDArray[np.float32]:
        """The mean of the last hidden states of the prompt's tokens, float32 [D].

        For a request submitted with `embed=True`; handed out once. Waits for it, and raises the
        request's error, or RequestError if it was cancelled.
        """
        for mean_D in self._take_rows():
            return mean_D
        raise RequestError("embedding: the request was cancelled before it was computed")

    def result(self) -> Result:
        """Wait for the end; raises the request's error if it ends with one."""
        events = tuple(self)
        assert self._finish_reason is not None
        return Result(events, self._finish_reason, self.stats)

    def cancel(self) -> None:
        """End the request after the step it is in; it ends as "cancelled" unless it has ended."""
        self.cancel_requested = True
        self._wake_engine()

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended; None while it has not."""
        return self._finish_reason

    @property
    def stats(self) -> RequestStats:
        """Sizes and times so far."""
        with self._changed:
            generated = len(self._events)
            computed = len(self.prompt_ids) - self._cached_tokens
            return RequestStats(
                prompt_tokens=len(self.prompt_ids),
                cached_tokens=self._cached_tokens,
                generated_tokens=generated,
                queue_seconds=_seconds(self._submitted_at, self._started_at),
                seconds_to_first_token=_seconds(self._submitted_at, self._first_at),
                prompt_tokens_per_second=_rate(computed, self._started_at, self._first_at),
                generated_tokens_per_second=_rate(generated - 1, self._first_at, self._last_at),
                draft_tokens=self._draft_tokens,
                accepted_draft_tokens=self._accepted_draft_tokens,
            )

    def start(self, cached_tokens: int) -> bool:
        """The engine is about to compute it, all but so many tokens; whether for the first time."""
        self._cached_tokens = cached_tokens
        if self._started_at is not None:
            return False
        self._started_at = time.perf_counter()
        return True

    def count_guesses(self, count: int) -> None:
        """The engine has run so many guesses for it."""
        with self._changed:
            self._draft_tokens += count

    def deliver(
        self, choice: Choice, finish_reason: FinishReason | None, *, guessed: bool = False
    ) -> None:
        """The engine has the next token, and the end if `finish_reason` is given.

        guessed: whether it had been guessed.
        """
        with self._changed:
            self._accepted_draft_tokens += guessed
            self._last_at = time.perf_counter()
            self._first_at = self._first_at or self._last_at
            self._events.append(
                TokenEvent(
                    choice.token_id,
                    choice.probability,
                    choice.logprob,
                    choice.top_logprobs,
                    finish_reason,
                    choice.logits_V,
                )
            )
            self._finish_reason = finish_reason
            self._tell()

    def deliver_prompt_rows(self, rows: NDArray[np.float32]) -> None:
        """The engine has what was asked for after the next prompt tokens."""
        with self._changed:
            self._prompt_rows.append(rows)
            self._tell()

    def finish(self, reason: FinishReason, error: ClLlamaError | None = None) -> None:
        """The engine ends it without another token."""
        with self._changed:
            self._finish_reason = reason
            self._error = error
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        if self._subscriber is not None:
            self._subscriber()

    def _take_rows(self) -> Iterator[NDArray[np.float32]]:
        while True:
            with self._changed:
                while not self._prompt_rows and self._finish_reason is None:
                    self._changed.wait()
                if not self._prompt_rows:
                    self._raise_error()
                    return
                rows = self._prompt_rows.popleft()
            yield rows

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _seconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start


def _rate(count: int, start: float | None, end: float | None) -> float | None:
    seconds = _seconds(start, end)
    return count / seconds if seconds and count > 0 else None
