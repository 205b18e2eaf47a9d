"""What RLLaMA's endpoint is asked for."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cl_llama.engine.params import SamplingParams


def _or_default(default: Any) -> BeforeValidator:
    """A field that is null is one that is not there."""
    return BeforeValidator(lambda value: default if value is None else value)


class Inference(BaseModel):
    """A prompt and how to go on from it. Fields that are not known are passed over."""

    model_config = ConfigDict(strict=True, title="InferenceRequest")

    prompt: str = Field(description="The text to continue.")
    temperature: Annotated[float, _or_default(1.0)] = Field(
        1.0, description="0 always takes the likeliest token."
    )
    top_k: Annotated[int, _or_default(20)] = Field(
        20, ge=0, description="Draw from the top_k likeliest tokens; 0: from all."
    )
    top_p: Annotated[float, _or_default(1.0)] = Field(
        1.0,
        ge=0,
        le=1,
        description="Draw from the fewest tokens whose probabilities reach it; 1: from all.",
    )
    repetition_penalty: Annotated[float, _or_default(1.0)] = Field(
        1.0,
        description="Above 1, tokens of the prompt and the text become less likely; 1: off.",
    )
    stop_at_end_token: Annotated[bool, _or_default(True)] = Field(
        True, description="End the text where the model ends it."
    )
    max_seq_len: Annotated[int, _or_default(1024)] = Field(
        1024,
        ge=1,
        description="Prompt and text together, in tokens; at most what the server has room for.",
    )
    max_new_tokens: Annotated[int, _or_default(1024)] = Field(
        1024, ge=0, description="Tokens to generate at most."
    )
    no_token_sampling: Annotated[bool, _or_default(False)] = Field(
        False,
        description="Answer with the probabilities of all tokens in each token's place, by the "
        "model alone: before temperature, penalties and cuts.",
    )

    def params(self, limit: int, *, logits: bool = False) -> SamplingParams:
        """The sampler's settings for a text of `limit` tokens; RequestError for a bad one."""
        return SamplingParams(
            max_new_tokens=limit,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            stop_token_ids=None if self.stop_at_end_token else (),
            logits=logits,
        )
