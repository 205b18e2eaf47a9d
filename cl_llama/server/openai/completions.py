"""POST /v1/completions."""

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from functools import partial

from fastapi import APIRouter
from fastapi.responses import Response

from cl_llama.engine.params import SamplingParams
from cl_llama.llm import Llama, Prompt
from cl_llama.server.answer import AnswerStream
from cl_llama.server.errors import ApiError
from cl_llama.server.openai.choices import params_of_choice, pieces_of, start_all
from cl_llama.server.openai.completion_models import (
    DEFAULT_MAX_TOKENS,
    CompletionChoice,
    CompletionRequest,
    TextCompletion,
    TextCompletionChunk,
)
from cl_llama.server.openai.logprobs import completion_logprobs
from cl_llama.server.openai.models import check_model
from cl_llama.server.openai.prompts import each_prompt
from cl_llama.server.openai.responses import answers, event_stream, whole
from cl_llama.server.openai.service import ServiceDependency
from cl_llama.server.openai.usage import Usage, timings_of, usage_of
from cl_llama.server.service import Service
from cl_llama.text_stream import StreamPiece, TextStream

PATH = "/v1/completions"

MAX_TEXTS = 256
"""Prompts times n."""

router = APIRouter()


@router.post(PATH, response_model=TextCompletion, responses=answers(TextCompletionChunk))
async def create_completion(request: CompletionRequest, service: ServiceDependency) -> Response:
    """Continue texts, in one piece or in events."""
    check_model(service, request.model)
    llm = service.llm
    limit = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    params = request.sampling_params(max_new_tokens=limit, logprobs=request.logprobs)
    prompts = each_prompt(request.prompt)
    if len(prompts) * (request.n or 1) > MAX_TEXTS:
        raise ApiError(
            f"prompt and n: a request may ask for {MAX_TEXTS} texts, not for {len(prompts)} times "
            f"{request.n or 1}",
            param="prompt",
        )
    begins = [
        partial(_begin, llm, request, prompt, params_of_choice(params, index))
        for prompt in prompts
        for index in range(request.n or 1)
    ]
    answer = _Answer(service, request, await start_all(service, begins))
    if request.stream:
        return event_stream(answer.chunks(), PATH)
    return whole(await answer.whole())


def _begin(
    llm: Llama, request: CompletionRequest, prompt: Prompt, params: SamplingParams
) -> TextStream:
    return llm.stream(prompt, params, logit_mask=request.logit_mask(llm))


class _Answer:
    """The texts of a request on their way to the client."""

    def __init__(
        self, service: Service, request: CompletionRequest, texts: Sequence[AnswerStream]
    ) -> None:
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = service.model_name
        self._request = request
        self._usage = request.stream_options is not None and bool(
            request.stream_options.include_usage
        )
        self._tokenizer = service.llm.tokenizer
        self._texts = texts
        self._lengths = [0] * len(texts)

    async def whole(self) -> TextCompletion:
        """All of it."""
        pieces: list[list[StreamPiece]] = [[] for _ in self._texts]
        async for index, piece in pieces_of(self._texts):
            pieces[index].append(piece)
        choices = []
        for index, own in enumerate(pieces):
            prompt = self._echo(index)
            choice = self._choice(index, own)
            choice.text = prompt + choice.text
            choices.append(choice)
        return TextCompletion(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._model,
            choices=choices,
            usage=self._used(),
            timings=timings_of(self._texts[0].stats),
        )

    async def chunks(self) -> AsyncIterator[TextCompletionChunk]:
        """As it comes, and usage at the end if it is asked for."""
        held: list[list[StreamPiece]] = [[] for _ in self._texts]  # of tokens that added nothing
        for index in range(len(self._texts)):
            if prompt := self._echo(index):
                choice = self._choice(index, [])
                choice.text = prompt
                yield self._chunk(choice)
        async for index, piece in pieces_of(self._texts):
            held[index].append(piece)
            if piece.text or piece.finish_reason is not None:
                yield self._chunk(self._choice(index, held[index]))
                held[index] = []
        if self._usage:
            chunk = self._chunk()
            chunk.usage = self._used()
            chunk.timings = timings_of(self._texts[0].stats)
            yield chunk

    def _echo(self, index: int) -> str:
        if not self._request.echo:
            return ""
        prompt = each_prompt(self._request.prompt)[index // (self._request.n or 1)]
        return prompt if isinstance(prompt, str) else self._tokenizer.decode(prompt)

    def _choice(self, index: int, pieces: Sequence[StreamPiece]) -> CompletionChoice:
        """The next pieces of a text."""
        logprobs = None
        top = self._request.logprobs
        if top is not None:
            logprobs = completion_logprobs(pieces, self._tokenizer, self._lengths[index], top)
        text = "".join(piece.text for piece in pieces)
        self._lengths[index] += len(text)
        reason = pieces[-1].finish_reason if pieces else None
        return CompletionChoice(
            index=index,
            text=text,
            logprobs=logprobs,
            finish_reason="length" if reason == "length" else "stop" if reason else None,
        )

    def _chunk(self, *choices: CompletionChoice) -> TextCompletionChunk:
        chunk = TextCompletionChunk(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._model,
            choices=list(choices),
        )
        if self._usage:
            chunk.usage = None
        return chunk

    def _used(self) -> Usage:
        return usage_of([text.stats for text in self._texts], self._request.n or 1)
