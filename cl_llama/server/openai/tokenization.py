"""POST /tokenize and /detokenize, as llama.cpp's server has them."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cl_llama.server.openai.prompts import TokenId
from cl_llama.server.openai.responses import ErrorLine, errors
from cl_llama.server.openai.service import ServiceDependency
from cl_llama.tokenizers import Tokenizer

router = APIRouter()


class TokenizeRequest(BaseModel):
    """A text."""

    content: str
    add_special: bool = Field(
        default=False, description="Whether the token that begins a text goes in front."
    )
    parse_special: bool = Field(
        default=True, description="Whether special tokens that the text spells are such."
    )
    with_pieces: bool = Field(default=False, description="Whether to tell each token's spelling.")


class TokenPiece(BaseModel):
    """A token and what it adds to a text: text, or bytes where it is no whole characters."""

    id: int
    piece: str | list[int]


class Tokens(BaseModel):
    """A text's tokens."""

    tokens: list[int] | list[TokenPiece]


class DetokenizeRequest(BaseModel):
    """Token ids."""

    tokens: list[TokenId]


class Text(BaseModel):
    """The text of tokens; special tokens are spelled."""

    content: str


@router.post("/tokenize", responses=errors(ErrorLine))
async def tokenize(request: TokenizeRequest, service: ServiceDependency) -> Tokens:
    """The tokens of a text."""
    tokenizer = service.llm.tokenizer
    ids = await service.call(
        lambda: tokenizer.encode(
            request.content, add_bos=request.add_special, special=request.parse_special
        )
    )
    if not request.with_pieces:
        return Tokens(tokens=ids)
    return Tokens(tokens=[TokenPiece(id=one, piece=_piece(tokenizer, one)) for one in ids])


@router.post("/detokenize", responses=errors(ErrorLine))
async def detokenize(request: DetokenizeRequest, service: ServiceDependency) -> Text:
    """The text of tokens."""
    tokenizer = service.llm.tokenizer
    text = await service.call(lambda: tokenizer.decode(request.tokens, skip_special=False))
    return Text(content=text)


def _piece(tokenizer: Tokenizer, token_id: int) -> str | list[int]:
    data = tokenizer.token_bytes(token_id) or tokenizer.piece(token_id).encode()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
