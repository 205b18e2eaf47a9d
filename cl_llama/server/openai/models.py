"""GET /v1/models: the one model that is served."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from cl_llama.server.errors import ApiError
from cl_llama.server.openai.responses import errors
from cl_llama.server.openai.service import ServiceDependency
from cl_llama.server.service import Service

DEFAULT_NAME = "cl-llama"
"""The name that every server's model has beside its own."""

router = APIRouter()


class ModelMeta(BaseModel):
    """Extension: what a client might want to know of the model."""

    max_seq_len: int
    vocab_size: int
    device: str
    chat: bool
    """Whether it has a chat template."""


class ModelEntry(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "cl-llama"
    meta: ModelMeta


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


@router.get("/v1/models", responses=errors())
async def list_models(service: ServiceDependency) -> ModelList:
    """The model that is served."""
    return ModelList(data=[_entry(service)])


@router.get("/v1/models/{model:path}", responses=errors())
async def retrieve_model(
    service: ServiceDependency, model: Annotated[str, Path(description="The model's id.")]
) -> ModelEntry:
    """The model by its name."""
    check_model(service, model)
    return _entry(service)


def check_model(service: Service, name: str | None) -> None:
    """Raise ApiError, 404, for a name that is neither the model's nor `DEFAULT_NAME`."""
    if name not in (None, "", service.model_name, DEFAULT_NAME):
        raise ApiError(
            f"the model {name!r:.200} is not served here; ask for {service.model_name!r}, or leave "
            "the name out",
            status=404,
            param="model",
            code="model_not_found",
        )


def _entry(service: Service) -> ModelEntry:
    llm = service.llm
    return ModelEntry(
        id=service.model_name,
        created=service.created,
        meta=ModelMeta(
            max_seq_len=llm.max_seq_len,
            vocab_size=llm.config.vocab_size,
            device=llm.device_label,
            chat=llm.chat_template is not None,
        ),
    )
