"""POST /v1/chat/completions."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial

from fastapi import APIRouter
from fastapi.responses import Response

from cl_llama.server.answer import AnswerStream
from cl_llama.server.openai.chat_models import (
    AnswerMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    FinishReason,
    MessageDelta,
)
from cl_llama.server.openai.chat_reader import ChatReader, ReadPiece
from cl_llama.server.openai.chat_task import ChatTask
from cl_llama.server.openai.choices import pieces_of, start_all
from cl_llama.server.openai.logprobs import ChatLogprobs, TokenLogprob
from cl_llama.server.openai.models import check_model
from cl_llama.server.openai.responses import answers, event_stream, whole
from cl_llama.server.openai.service import ServiceDependency
from cl_llama.server.openai.tools.definitions import FunctionCall, ToolCall
from cl_llama.server.openai.usage import Usage, timings_of, usage_of
from cl_llama.server.service import Service

PATH = "/v1/chat/completions"

router = APIRouter()


@router.post(PATH, response_model=ChatCompletion, responses=answers(ChatCompletionChunk))
async def create_chat_completion(request: ChatRequest, service: ServiceDependency) -> Response:
    """Answer a conversation, in one piece or in events."""
    check_model(service, request.model)
    llm = service.llm
    task = await service.call(lambda: ChatTask(llm, request))
    choices = range(request.n or 1)
    texts = await start_all(service, [partial(task.begin, index) for index in choices])
    answer = _Answer(service, request, [task.reader() for _ in choices], texts)
    if request.stream:
        return event_stream(answer.chunks(), PATH)
    return whole(await answer.whole())


class _Answer:
    """The answers to a request on their way to the client."""

    def __init__(
        self,
        service: Service,
        request: ChatRequest,
        readers: Sequence[ChatReader],
        texts: Sequence[AnswerStream],
    ) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = service.model_name
        self._logprobs = request.logprobs is True
        self._usage = request.stream_options is not None and bool(
            request.stream_options.include_usage
        )
        self._readers = readers
        self._texts = texts

    async def whole(self) -> ChatCompletion:
        """All of it."""
        read: list[list[ReadPiece]] = [[] for _ in self._texts]
        async for index, piece in pieces_of(self._texts):
            read[index].append(self._readers[index].read(piece))
        return ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            choices=[self._choice(index, pieces) for index, pieces in enumerate(read)],
            usage=self._used(),
            timings=timings_of(self._texts[0].stats),
        )

    async def chunks(self) -> AsyncIterator[ChatCompletionChunk]:
        """As it comes: the role first, then what each token adds, why it ended, and usage."""
        for index in range(len(self._texts)):
            yield self._chunk(index, MessageDelta(role="assistant", content=""))
        held: list[list[TokenLogprob]] = [[] for _ in self._texts]  # of tokens that added nothing
        async for index, piece in pieces_of(self._texts):
            read = self._readers[index].read(piece)
            held[index] += read.logprobs
            deltas = [MessageDelta(content=read.content)] if read.content else []
            deltas += [MessageDelta(tool_calls=[call]) for call in read.tool_calls]
            for delta in deltas:
                yield self._chunk(index, delta, held[index])
                held[index] = []
            if read.finish_reason is not None:
                yield self._chunk(index, MessageDelta(), held[index], read.finish_reason)
        if self._usage:
            chunk = self._empty_chunk()
            chunk.usage = self._used()
            chunk.timings = timings_of(self._texts[0].stats)
            yield chunk

    def _choice(self, index: int, read: Sequence[ReadPiece]) -> ChatChoice:
        content = "".join(piece.content for piece in read)
        calls: list[ToolCall] = []
        for delta in (call for piece in read for call in piece.tool_calls):
            if delta.id is not None:
                function = FunctionCall(name=delta.function.name or "", arguments="")
                calls.append(ToolCall(id=delta.id, type="function", function=function))
            calls[delta.index].function.arguments += delta.function.arguments
        message = AnswerMessage(role="assistant", content=content, refusal=None)
        if calls:
            message.content = content or None
            message.tool_calls = calls
        reason = read[-1].finish_reason
        assert reason is not None
        return ChatChoice(
            index=index,
            message=message,
            logprobs=self._told([token for piece in read for token in piece.logprobs]),
            finish_reason=reason,
        )

    def _chunk(
        self,
        index: int,
        delta: MessageDelta,
        logprobs: Sequence[TokenLogprob] = (),
        reason: FinishReason | None = None,
    ) -> ChatCompletionChunk:
        chunk = self._empty_chunk()
        told = self._told(logprobs) if logprobs else None
        choice = ChatChunkChoice(index=index, delta=delta, logprobs=told, finish_reason=reason)
        chunk.choices.append(choice)
        return chunk

    def _empty_chunk(self) -> ChatCompletionChunk:
        chunk = ChatCompletionChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._model,
            choices=[],
        )
        if self._usage:
            chunk.usage = None
        return chunk

    def _told(self, logprobs: Sequence[TokenLogprob]) -> ChatLogprobs | None:
        return ChatLogprobs(content=list(logprobs), refusal=None) if self._logprobs else None

    def _used(self) -> Usage:
        return usage_of([text.stats for text in self._texts], len(self._texts))
