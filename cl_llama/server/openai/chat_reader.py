"""What each token adds to an answer of the chat API: text, calls, log-probabilities, the end."""

from collections.abc import Sequence
from dataclasses import dataclass

from cl_llama.server.openai.chat_models import FinishReason
from cl_llama.server.openai.logprobs import TokenLogprob, is_part_of_text, token_logprob
from cl_llama.server.openai.tools.definitions import FunctionCallDelta, ToolCallDelta
from cl_llama.server.openai.tools.parser import CallDelta, Delta, TextDelta
from cl_llama.server.openai.tools.request import ToolUse
from cl_llama.text_stream import StreamPiece
from cl_llama.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """What one token added."""

    content: str
    tool_calls: Sequence[ToolCallDelta]
    logprobs: Sequence[TokenLogprob]
    finish_reason: FinishReason | None


class ChatReader:
    """Reads the pieces of one answer."""

    def __init__(self, tokenizer: Tokenizer, tools: ToolUse | None, logprobs: bool) -> None:
        """tools: what the answer may call; logprobs: whether they are wanted."""
        self._tokenizer = tokenizer
        self._tools = tools
        self._parser = None if tools is None else tools.parser()
        self._logprobs = logprobs

    def read(self, piece: StreamPiece) -> ReadPiece:
        """What the next piece adds."""
        deltas: list[Delta] = [TextDelta(piece.text)]
        if self._parser is not None:
            deltas = self._parser.push(piece.text, piece.token_id)
            if piece.finish_reason is not None:
                deltas += self._parser.finish()
        logprobs = []
        if self._logprobs and is_part_of_text(piece, self._tokenizer):
            logprobs.append(token_logprob(piece, self._tokenizer))
        return ReadPiece(
            content="".join(delta.text for delta in deltas if isinstance(delta, TextDelta)),
            tool_calls=[self._call(delta) for delta in deltas if isinstance(delta, CallDelta)],
            logprobs=logprobs,
            finish_reason=self._reason(piece),
        )

    def _call(self, delta: CallDelta) -> ToolCallDelta:
        if delta.name is None:
            function = FunctionCallDelta(arguments=delta.arguments)
            return ToolCallDelta(index=delta.index, function=function)
        assert self._tools is not None
        return ToolCallDelta(
            index=delta.index,
            id=self._tools.new_id(),
            type="function",
            function=FunctionCallDelta(name=delta.name, arguments=delta.arguments),
        )

    def _reason(self, piece: StreamPiece) -> FinishReason | None:
        if piece.finish_reason is None:
            return None
        if piece.finish_reason == "length":
            return "length"
        return "tool_calls" if self._parser is not None and self._parser.has_calls else "stop"
