"""A text on its way to a client: the pieces of a TextStream, awaited instead of waited for."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from cl_llama.engine.request import FinishReason, RequestStats
from cl_llama.errors import ClLlamaError
from cl_llama.server.exchange import Exchange
from cl_llama.text_stream import StreamPiece, TextStream


class AnswerStream:
    """Iterates over a text's pieces in an event loop. Leaving its context cancels the text.

    It also ends, as cancelled, when the HTTP request that it was started for is over or its client
    has gone.
    """

    def __init__(self, stream: TextStream, exchange: Exchange) -> None:
        """Made by `Service.start`."""
        self.finish_reason: FinishReason | None = None
        """Why the text ended; None until its last piece has been read."""
        self._stream = stream
        self._exchange = exchange
        self._changed = asyncio.Event()
        self._error: ClLlamaError | None = None
        exchange.streams.append(self)
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody reads
                loop.call_soon_threadsafe(self._changed.set)

        stream.subscribe(wake)

    def __aiter__(self) -> Self:
        """The stream itself."""
        return self

    async def __anext__(self) -> StreamPiece:
        """The next token's piece.

        Raises the request's error; RequestTimeoutError if the HTTP request has no time left.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(self._exchange.deadline):
                while self._error is None and not self._stream.ready:
                    self._changed.clear()
                    if not self._stream.ready:
                        await self._changed.wait()
        except TimeoutError:
            pass
        if self._error is None and loop.time() >= self._exchange.deadline:
            self._exchange.time_out()
        if self._error is not None:
            raise self._error
        try:
            piece = next(self._stream)
        except StopIteration:
            raise StopAsyncIteration from None
        except ClLlamaError as error:
            self._exchange.error = error
            raise
        self.finish_reason = piece.finish_reason
        return piece

    @property
    def prompt_token_ids(self) -> list[int]:
        """The prompt as the model got it."""
        return self._stream.prompt_token_ids

    @property
    def stats(self) -> RequestStats:
        """Sizes and times so far."""
        return self._stream.stats

    def cancel(self) -> None:
        """End the text after the step it is in, unless it has ended."""
        self._stream.close()

    def abort(self, error: ClLlamaError) -> None:
        """End the text with an error."""
        self.cancel()
        self._error = error
        self._changed.set()

    async def aclose(self) -> None:
        """The same as `cancel`, under the name that asynchronous iterators have for it."""
        self.cancel()

    async def __aenter__(self) -> Self:
        """The stream itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.cancel()
