"""POST /v1/embeddings: the mean of a prompt's last hidden states."""

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from cl_llama.llm import Llama
from cl_llama.server.errors import ApiError
from cl_llama.server.openai.models import check_model
from cl_llama.server.openai.prompts import Prompts, each_prompt
from cl_llama.server.openai.responses import errors
from cl_llama.server.openai.service import ServiceDependency

router = APIRouter()


class EmbeddingRequest(BaseModel):
    """Texts to embed. Fields that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = Field(default=None, description="The served model's name, or none.")
    input: Prompts = Field(description="A text, texts, token ids, or lists of token ids.")
    encoding_format: Literal["float", "base64"] | None = Field(
        default=None, description='"base64": of float32 values, little-endian; default "float".'
    )
    dimensions: SkipJsonSchema[Any] = None

    @model_validator(mode="after")
    def _check(self) -> "EmbeddingRequest":
        if self.dimensions is not None:
            raise ApiError(
                "dimensions is not supported: a vector has the model's own width",
                param="dimensions",
            )
        return self


class Embedding(BaseModel):
    """One text's vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens of all texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """All vectors."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


@router.post("/v1/embeddings", responses=errors())
async def create_embeddings(request: EmbeddingRequest, service: ServiceDependency) -> EmbeddingList:
    """Make a vector of each text: the mean of its last hidden states, scaled to length 1."""
    check_model(service, request.model)
    llm = service.llm
    vectors_ND, tokens = await service.call(lambda: _embed(llm, request))
    encode = _as_base64 if request.encoding_format == "base64" else _as_list
    return EmbeddingList(
        data=[Embedding(index=i, embedding=encode(one_D)) for i, one_D in enumerate(vectors_ND)],
        model=service.model_name,
        usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _embed(llm: Llama, request: EmbeddingRequest) -> tuple[NDArray[np.float32], int]:
    """Vectors [n, D] of length 1, and the number of all tokens."""
    ids = [llm.prompt_ids(prompt) for prompt in each_prompt(request.input)]
    vectors_ND = llm.embed(ids)
    lengths_N = np.linalg.norm(vectors_ND.astype(np.float64), axis=1, keepdims=True)
    return (vectors_ND / np.maximum(lengths_N, 1e-12)).astype(np.float32), sum(map(len, ids))


def _as_list(vector_D: NDArray[np.float32]) -> list[float]:
    return [float(value) for value in vector_D]


def _as_base64(vector_D: NDArray[np.float32]) -> str:
    return base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
