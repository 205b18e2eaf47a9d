"""The text of a request while its tokens arrive."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.request import FinishReason, Request, RequestStats
from cl_llama.stop_strings import StopStrings
from cl_llama.tokenizers import StreamDecoder


@dataclass(frozen=True, slots=True)
class StreamPiece:
    """What one generated token added to a text."""

    text: str
    """Text that became final: whole characters, none of a stop string; often empty."""
    token_id: int | None
    """None in a last piece that came without a token: the request was cancelled, or had no room."""
    probability: float
    """With which the sampler's settings chose the token, after temperature and all cuts.

    1 for a greedy choice; 0 in a piece without a token.
    """
    logprob: float | None
    """The token's log-probability by the model itself, if `SamplingParams.logprobs` asks for it."""
    top_logprobs: tuple[tuple[int, float], ...]
    """The likeliest (token id, log-probability) in its place, as many as were asked for."""
    finish_reason: FinishReason | None
    """Why the text ends here; None in all pieces but the last."""
    logits: NDArray[np.float32] | None = field(default=None, compare=False)
    """The model's own in the token's place, float32 [V], if `SamplingParams.logits` asks."""


class TextBuilder:
    """Generated tokens to text, cut at stop strings. Equal tokens always give equal text."""

    def __init__(self, decoder: StreamDecoder | None, stop: StopStrings) -> None:
        """Without a decoder, which takes a tokenizer, every text is empty."""
        self._decoder = decoder
        self._stop = stop

    @property
    def stopped(self) -> bool:
        """Whether a stop string has appeared."""
        return self._stop.matched

    def push(self, token_id: int) -> str:
        """Text that became final with this token."""
        return "" if self._decoder is None else self._stop.push(self._decoder.push(token_id))

    def finish(self) -> str:
        """Text that was held back until the end."""
        rest = "" if self._decoder is None else self._stop.push(self._decoder.finish())
        return rest + self._stop.finish()


class TextStream(Iterator[StreamPiece]):
    """Iterates over a request's pieces of text. Closing or dropping it cancels the request."""

    def __init__(self, request: Request, builder: TextBuilder, owner: object) -> None:
        """Made by `Llama.stream`; `owner` is kept alive, and its engine with it."""
        self._request = request
        self._builder = builder
        self._owner = owner
        self._read = 0
        self._ended = False

    def __next__(self) -> StreamPiece:
        """The next token's piece; waits for it, and raises the request's error."""
        if self._ended:
            raise StopIteration
        event = self._request.event(self._read)
        self._read += 1
        if event is None:
            self._ended = True
            reason = self._request.finish_reason
            return StreamPiece(self._builder.finish(), None, 0.0, None, (), reason)
        text = ""
        if event.token_id not in self._request.stop_ids:
            text = self._builder.push(event.token_id)
        if event.finish_reason is not None:
            self._ended = True
            text += self._builder.finish()
        return StreamPiece(
            text,
            event.token_id,
            event.probability,
            event.logprob,
            event.top_logprobs,
            event.finish_reason,
            event.logits_V,
        )

    @property
    def ready(self) -> bool:
        """Whether the next piece, the end or an error can be had without waiting."""
        return self._ended or self._request.has_event(self._read)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Be called when `ready` may have changed, as `Request.subscribe` has it."""
        self._request.subscribe(callback)

    @property
    def prompt_token_ids(self) -> list[int]:
        """The prompt as the model got it."""
        return list(self._request.prompt_ids)

    @property
    def stats(self) -> RequestStats:
        """Sizes and times so far."""
        return self._request.stats

    def close(self) -> None:
        """Cancel the request if it still runs; what has arrived can still be read."""
        if self._request.finish_reason is None:
            self._request.cancel()

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Close it; nobody can read it any more."""
        self.close()
