"""The texts of one request: begun one after the other, read side by side."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from cl_llama.engine.params import SamplingParams
from cl_llama.server.answer import AnswerStream
from cl_llama.server.errors import NotReadyError
from cl_llama.server.service import Service
from cl_llama.text_stream import StreamPiece, TextStream


async def start_all(
    service: Service, begins: Sequence[Callable[[], TextStream]]
) -> list[AnswerStream]:
    """Begin all texts. Raises as `Service.start` does; those that have begun end with the request.

    They run at once, and end when the HTTP request does.
    """
    return [await service.start(begin) for begin in begins]


def params_of_choice(params: SamplingParams, index: int) -> SamplingParams:
    """The parameters of the text number `index`: with a seed of its own, if a seed was given."""
    if params.seed is None or index == 0:
        return params
    return replace(params, seed=(params.seed + index) % 2**64)


async def pieces_of(answers: Sequence[AnswerStream]) -> AsyncIterator[tuple[int, StreamPiece]]:
    """All pieces of all texts as they come, each with its text's number.

    Raises the first error that one of them meets.
    """
    if len(answers) == 1:
        async for only in answers[0]:
            yield 0, _checked(only)
        return
    waits = {_next(answer): index for index, answer in enumerate(answers)}
    try:
        while waits:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait, index in sorted(
                ((wait, waits.pop(wait)) for wait in done), key=lambda item: item[1]
            ):
                piece = wait.result()
                if piece is not None:
                    waits[_next(answers[index])] = index
                    yield index, _checked(piece)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def _next(answer: AnswerStream) -> "asyncio.Task[StreamPiece | None]":
    async def read() -> StreamPiece | None:
        return await anext(answer, None)

    return asyncio.create_task(read())


def _checked(piece: StreamPiece) -> StreamPiece:
    if piece.finish_reason == "cancelled":
        raise NotReadyError("the model was closed before the text was finished")
    return piece
