"""The fields of a request that say how tokens are chosen and when a text ends."""

from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError
from cl_llama.server.errors import ApiError

_OWN = frozenset(field.name for field in fields(SamplingParams))
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128


class SamplingFields(BaseModel):
    """OpenAI's fields, and beside them all of cl-llama's samplers by their names.

    A field that is absent or null has SamplingParams' default; so has temperature, which is 1.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    temperature: float | None = Field(default=None, ge=0, description="0 is greedy; default 1.")
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(
        default=None, ge=-(2**63), le=2**64 - 1, description="The same seed, the same text."
    )
    stop: str | list[str] | None = Field(
        default=None, description="One or several texts that end the answer, which lacks them."
    )
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], float] | None = Field(
        default=None, description="Added to the logits of these token ids."
    )
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        default=None, description="How many answers; default 1."
    )
    top_k: int | None = Field(default=None, ge=0, description="Extension; 0: off.")
    min_p: float | None = Field(default=None, ge=0, le=1, description="Extension.")
    repetition_penalty: float | None = Field(
        default=None, ge=0.01, le=100, description="Extension; 1: off."
    )
    stop_token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        description="Extension: tokens that end the answer, instead of the model's own.",
    )

    def sampling_params(self, **settings: Any) -> SamplingParams:
        """The parameters as the engine takes them; `settings` are fields that go by other names.

        Raises ApiError naming the field whose value cannot be served.
        """
        given = self.model_dump(include=set(_OWN), exclude_none=True)
        given = {name: value for name, value in given.items() if value is not None}
        if self.logit_bias is not None:
            given["logit_bias"] = {int(key): bias for key, bias in self.logit_bias.items()}
        given |= settings
        for name, value in given.items():
            try:
                SamplingParams(**{name: value})
            except RequestError as error:
                raise ApiError(str(error).removeprefix("SamplingParams: "), param=name) from None
        return SamplingParams(**given)
