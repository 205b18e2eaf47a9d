"""Log-probabilities of tokens in the shapes of the chat and of the older completions API."""

from collections.abc import Sequence

from pydantic import BaseModel

from cl_llama.text_stream import StreamPiece
from cl_llama.tokenizers import Tokenizer


class TopLogprob(BaseModel):
    """A token that might have come."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token that came, and the likeliest in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """The tokens of an answer, those of its calls included."""

    content: list[TokenLogprob]
    refusal: None = None


class CompletionLogprobs(BaseModel):
    """The tokens of a text, in four lists of equal length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


def is_part_of_text(piece: StreamPiece, tokenizer: Tokenizer) -> bool:
    """Whether a piece's token is one that logprobs are told of: any but one that ends the text."""
    if piece.token_id is None or piece.logprob is None:
        return False
    return piece.finish_reason != "stop" or bool(tokenizer.token_bytes(piece.token_id))


def spelling(token_id: int, tokenizer: Tokenizer) -> tuple[str, bytes]:
    """A token as text, with U+FFFD for bytes that are no whole characters, and as bytes."""
    data = tokenizer.token_bytes(token_id) or tokenizer.piece(token_id).encode()
    return data.decode(errors="replace"), data


def token_logprob(piece: StreamPiece, tokenizer: Tokenizer) -> TokenLogprob:
    """A piece's token in the shape of the chat API."""
    assert piece.token_id is not None and piece.logprob is not None
    chosen = _top_logprob(piece.token_id, piece.logprob, tokenizer)
    return TokenLogprob(
        **chosen.model_dump(),
        top_logprobs=[
            _top_logprob(token_id, value, tokenizer) for token_id, value in piece.top_logprobs
        ],
    )


def completion_logprobs(
    pieces: Sequence[StreamPiece], tokenizer: Tokenizer, offset: int, top: int
) -> CompletionLogprobs:
    """Pieces in the shape of the completions API.

    offset: characters of the text before them. top: how many of the likeliest were asked for;
    those that are spelled alike share an entry, the likeliest one's.
    """
    told = CompletionLogprobs(
        tokens=[], token_logprobs=[], top_logprobs=[] if top else None, text_offset=[]
    )
    for piece in pieces:
        if is_part_of_text(piece, tokenizer):
            assert piece.token_id is not None and piece.logprob is not None
            told.tokens.append(spelling(piece.token_id, tokenizer)[0])
            told.token_logprobs.append(piece.logprob)
            told.text_offset.append(offset)
            if told.top_logprobs is not None:
                told.top_logprobs.append(_top_dict(piece, tokenizer))
        offset += len(piece.text)
    return told


def _top_dict(piece: StreamPiece, tokenizer: Tokenizer) -> dict[str, float]:
    found: dict[str, float] = {}
    for token_id, value in piece.top_logprobs:
        found.setdefault(spelling(token_id, tokenizer)[0], value)
    return found


def _top_logprob(token_id: int, value: float, tokenizer: Tokenizer) -> TopLogprob:
    token, data = spelling(token_id, tokenizer)
    return TopLogprob(token=token, logprob=value, bytes=list(data))
