"""The fields of a request that say how tokens are chosen and when a text ends."""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError
from cl_llama.server.errors import ApiError

_OWN = frozenset(field.name for field in fields(SamplingParams))
MAX_TOP_LOGPROBS = 20
MAX_CHOICES = 128


class SamplingFields(BaseModel):
    """OpenAI's fields, and beside them all others of SamplingParams by their own names.

    A field that is absent or null has the default of SamplingParams.
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
    top_k: int | None = Field(default=None, ge=0, description="Extension, as all below; 0: off.")
    min_p: float | None = Field(default=None, ge=0, le=1)
    typical_p: float | None = Field(default=None, ge=0, le=1)
    top_n_sigma: float | None = Field(default=None, ge=0)
    dynatemp_range: float | None = Field(default=None, ge=0)
    dynatemp_exponent: float | None = Field(default=None, ge=0)
    xtc_probability: float | None = Field(default=None, ge=0, le=1)
    xtc_threshold: float | None = Field(default=None, ge=0, le=1)
    mirostat: Literal[0, 2] | None = None
    mirostat_tau: float | None = Field(default=None, ge=0)
    mirostat_eta: float | None = Field(default=None, ge=0)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100)
    dry_multiplier: float | None = Field(default=None, ge=0)
    dry_base: float | None = Field(default=None, ge=1)
    dry_allowed_length: int | None = Field(default=None, ge=1)
    dry_penalty_last_n: int | None = Field(default=None, ge=-1)
    dry_sequence_breakers: list[str] | None = None
    stop_token_ids: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        description="Tokens that end the answer, instead of the model's own.",
    )

    def sampling_params(self, **settings: Any) -> SamplingParams:
        """The parameters as the engine takes them; `settings` are fields that go by other names.

        Raises ApiError naming the field whose value cannot be served.
        """
        given = self.model_dump(include=set(_OWN), exclude_none=True)
        if self.logit_bias is not None:
            given["logit_bias"] = {int(key): bias for key, bias in self.logit_bias.items()}
        given |= settings
        for name, value in given.items():
            try:
                SamplingParams(**{name: value})
            except RequestError as error:
                raise ApiError(str(error).removeprefix("SamplingParams: "), param=name) from None
        return SamplingParams(**given)
