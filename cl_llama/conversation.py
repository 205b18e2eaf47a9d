"""A conversation with a model that goes on turn by turn and keeps its tokens."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.request import FinishReason, RequestStats
from cl_llama.engine.sampling import LogitMask
from cl_llama.errors import ClLlamaError, ContextFullError, RequestError
from cl_llama.prompt_tokens import PromptTokens
from cl_llama.text_stream import StreamPiece, TextStream

if TYPE_CHECKING:
    from cl_llama.chat import Message
    from cl_llama.llm import Llama


class Conversation:
    """Messages, and the token ids that the model has read and written for them.

    Every answer's tokens stay those that the model wrote, wherever the template repeats the answer
    in the next prompt as it was, so that the cache holds all of the earlier turns. For one thread.
    """

    def __init__(
        self,
        llm: "Llama",
        messages: "Sequence[Message]" = (),
        *,
        tokens: PromptTokens | None = None,
        **template_values: Any,
    ) -> None:
        """Go on from these messages, with the tokens that were kept of them, if any.

        template_values: what else the model's template takes.
        """
        self.messages: list[Message] = list(messages)
        """May be changed between answers: as many of the kept tokens are used as still fit."""
        self.tokens = tokens or PromptTokens()
        self._llm = llm
        self._template_values = template_values

    def say(
        self,
        text: str,
        params: SamplingParams | None = None,
        *,
        logit_mask: LogitMask | None = None,
    ) -> "Answer":
        """Have a user's message answered. Raises as `Llama.stream_chat` does, and ContextFullError.

        The message and the answer belong to the conversation when the answer has been read to its
        end or closed; one that fails, or is closed before its first token, leaves all as it was.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        return self._answer(messages, params, logit_mask)

    def retry(
        self, params: SamplingParams | None = None, *, logit_mask: LogitMask | None = None
    ) -> "Answer":
        """Have the last message answered again, in place of its answer; else as `say`."""
        messages = list(self.messages)
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages or messages[-1]["role"] != "user":
            raise RequestError("conversation: there is no message yet that could be answered")
        return self._answer(messages, params, logit_mask)

    def _answer(
        self,
        messages: "list[Message]",
        params: SamplingParams | None,
        logit_mask: LogitMask | None,
    ) -> "Answer":
        text = self._llm.chat_prompt(messages, **self._template_values)
        tokens = self.tokens.extended(self._llm.tokenizer, text)
        if tokens is None:
            ids = self._llm.prompt_ids(text)
            tokens = PromptTokens(text, tuple(ids), "", ((len(text), len(ids)),))
        room = self._llm.max_seq_len
        if len(tokens.ids) >= room:
            raise ContextFullError(
                f"conversation: with this message it has {len(tokens.ids)} tokens, and the context "
                f"of {room} has no room for an answer"
            )
        stream = self._llm.stream_answer(tokens.ids, params, logit_mask=logit_mask)
        return Answer(self, messages, tokens, stream)

    def _commit(
        self, messages: "list[Message]", tokens: PromptTokens, ids: list[int], text: str
    ) -> None:
        self.messages = [*messages, {"role": "assistant", "content": text}]
        self.tokens = tokens.answered(self._llm.tokenizer, ids, text)


class Answer(Iterator[StreamPiece]):
    """Iterates over an answer's pieces; made by `Conversation.say` and `retry`.

    Its end makes it part of the conversation.
    """

    def __init__(
        self,
        conversation: Conversation,
        messages: "list[Message]",
        tokens: PromptTokens,
        stream: TextStream,
    ) -> None:
        self._conversation = conversation
        self._messages = messages
        self._tokens = tokens
        self._stream = stream
        self._ids: list[int] = []
        self._open = True
        self.text = ""
        """The answer so far."""
        self.kept = False
        """Whether it has become part of the conversation."""
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while it has not."""

    def __next__(self) -> StreamPiece:
        """The next token's piece; waits for it, and raises the request's error."""
        if not self._open:
            raise StopIteration
        try:
            piece = next(self._stream)
        except ClLlamaError:
            self._open = False
            raise
        self.text += piece.text
        if piece.token_id is not None:
            self._ids.append(piece.token_id)
        if piece.finish_reason is not None:
            self._open = False
            self.finish_reason = piece.finish_reason
            if self._ids:
                self._conversation._commit(self._messages, self._tokens, self._ids, self.text)
                self.kept = True
        return piece

    @property
    def stats(self) -> RequestStats:
        """Sizes and times so far."""
        return self._stream.stats

    def stop(self) -> None:
        """Have the model stop; what it has written can still be read, and belongs to the answer."""
        self._stream.close()

    def close(self) -> None:
        """Stop, and read what there is."""
        self.stop()
        for _ in self:
            pass

    def __enter__(self) -> Self:
        """The answer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
