"""The endpoint: a prompt in, a line of JSON for each token out."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from cl_llama.errors import ClLlamaError, RequestError
from cl_llama.llm import Llama
from cl_llama.server.answer import AnswerStream
from cl_llama.server.errors import Failure, failure_of, failure_response
from cl_llama.server.exchange import current_exchange
from cl_llama.server.rllama.accept import OFFERED, negotiate
from cl_llama.server.rllama.inference import Inference
from cl_llama.server.rllama.probabilities import Probabilities
from cl_llama.server.service import Service
from cl_llama.server.settings import RllamaSettings
from cl_llama.text_stream import StreamPiece, TextStream

ROWS_BYTES = 2**24
"""Bytes of logits that are kept for a client which has not read them yet."""


def router(settings: RllamaSettings) -> APIRouter:
    """The endpoint at the path that the settings say."""
    routes = APIRouter(tags=["RLLaMA"])
    answers: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "JSON Lines, one for each token: the text it adds, its probability, "
            "and whether it ends the text",
            "content": {
                name: {"schema": {"type": "string"}, "example": '{" time":{"p":0.83}}\n'}
                for name in OFFERED
            },
        },
        406: {"description": "The Accept header takes neither of these"},
    }

    @routes.post(
        settings.path,
        summary="Continue a text",
        response_class=StreamingResponse,
        responses=answers,
    )
    @routes.post(f"{settings.path}/", include_in_schema=False)
    async def infer(request: Request, inference: Inference) -> Response:
        """Continue a text token by token."""
        accept = ",".join(request.headers.getlist("accept"))
        media_type = negotiate(accept)
        if media_type is None:
            failure = Failure(
                406, f"the answer can be {' or '.join(OFFERED)}, Accept is {accept!r:.100}"
            )
            return failure_response(request.url.path, failure)
        service: Service = request.app.state.service
        if settings.exit_after_one_query:
            exchange = current_exchange()
            exchange.on_end(lambda: service.on_stop() if exchange.status == 200 else None)
        continuation = _Continuation(service, inference)
        await continuation.start()
        return StreamingResponse(continuation.lines(), media_type=media_type)

    return routes


class _Continuation:
    """A text that goes on from a prompt.

    With the probabilities of all tokens it is made in runs of a few tokens, each going on where the
    one before ended: what a slow reader has not read yet stays small.
    """

    def __init__(self, service: Service, inference: Inference) -> None:
        self._service = service
        self._inference = inference
        self._ids: list[int] = []
        self._left = 0
        """Tokens that may still come, after the run at hand."""
        self._answer: AnswerStream | None = None
        self._pieces = self._all_pieces()
        self._first: StreamPiece | None = None

    async def start(self) -> None:
        """Wait for the first token, so that what goes wrong before has a status of its own.

        Raises as `Service.start` and `AnswerStream` do, and RequestError.
        """
        self._answer = await self._service.start(self._begin)
        self._first = await anext(self._pieces, None)

    async def lines(self) -> AsyncIterator[bytes]:
        """The answer. An error in the midst of it is its last line, {"error": "..."}."""
        try:
            async with aclosing(self._pieces):
                piece = self._first
                while piece is not None:
                    for part in await self._line(piece):
                        yield part
                    piece = await anext(self._pieces, None)
        except ClLlamaError as error:
            failure = failure_of(error)
            yield _json_line({"error": failure.message})

    async def _all_pieces(self) -> AsyncGenerator[StreamPiece, None]:
        """The pieces that have tokens."""
        while self._answer is not None:
            async with self._answer as answer:
                async for piece in answer:
                    if piece.token_id is not None:
                        self._ids.append(piece.token_id)
                        yield piece
            self._answer = None
            if answer.finish_reason == "length" and self._left > 0:
                self._answer = await self._service.start(self._go_on)

    def _begin(self) -> TextStream:
        llm, inference = self._service.llm, self._inference
        self._ids = llm.prompt_ids(inference.prompt)
        room = min(inference.max_seq_len, llm.max_seq_len)
        if len(self._ids) > room:
            raise RequestError(
                f"prompt: it has {len(self._ids)} tokens, max_seq_len leaves room for {room}"
            )
        self._left = min(inference.max_new_tokens, room - len(self._ids))
        return self._go_on()

    def _go_on(self) -> TextStream:
        llm, logits = self._service.llm, self._inference.no_token_sampling
        run = min(self._left, _run_length(llm)) if logits else self._left
        self._left -= run
        return llm.stream(self._ids, self._inference.params(run, logits=logits))

    async def _line(self, piece: StreamPiece) -> list[bytes]:
        """A token's line, in parts."""
        if piece.logits is not None:
            probabilities: Probabilities = self._service.shared(Probabilities)
            return await asyncio.to_thread(probabilities.line, piece.logits)
        about: dict[str, Any] = {"p": piece.probability}
        if piece.finish_reason == "stop":
            about["is_end_token"] = True
        return [_json_line({piece.text: about})]


def _run_length(llm: Llama) -> int:
    """Tokens whose logits fit `ROWS_BYTES`."""
    return max(1, ROWS_BYTES // (4 * llm.config.vocab_size))


def _json_line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
