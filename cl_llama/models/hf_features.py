"""What models beyond Llama's kin state in Hugging Face's config.json, as ModelConfig has it."""

import math
from typing import Any

from cl_llama.models.config_values import ConfigValues
from cl_llama.models.hf_rope import local_rope_from_hf
from cl_llama.models.model_config import ModelConfig

_TANH_GELUS = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
"""All of them the approximation with tanh."""


def features_from_hf(values: ConfigValues, config: ModelConfig) -> dict[str, Any]:
    """Fields of ModelConfig that are not a Llama's; raises ConfigError."""
    if config.architecture == "granite":
        return _granite(values, config)
    if config.architecture == "phi3":
        values.forbid(("attention_bias", "mlp_bias", "lm_head_bias"), "Phi-3 has no biases")
    if config.architecture == "olmo2":
        norms = {"norms_before": False, "norms_after": True}
        return norms | {"qk_norm": True, "qk_norm_whole": True}
    if config.architecture == "gemma2":
        return _gemma(values, config, attention_softcap=50.0, logits_softcap=30.0)
    if config.architecture == "gemma3":
        # max_position_embeddings counts what the scaling adds, unlike in other models.
        return _gemma(values, config, attention_softcap=None, logits_softcap=None) | {
            "qk_norm": True,
            "local_rope": local_rope_from_hf(values),
            "max_seq_len": values.integer("max_position_embeddings", 131072, most=2**31 - 1),
        }
    return {}


def _gemma(
    values: ConfigValues,
    config: ModelConfig,
    *,
    attention_softcap: float | None,
    logits_softcap: float | None,
) -> dict[str, Any]:
    """What both have in common; the caps are those of files that do not name them."""
    values.choice("hidden_activation", _TANH_GELUS, _TANH_GELUS[0])
    values.forbid(("attention_bias",), "Gemma's projections have no biases")
    values.forbid(("use_bidirectional_attention",), "every token sees those before it alone")

    def softcap(key: str, default: float | None) -> float | None:
        if values.has(key):
            return values.number(key)
        return None if key in values.values else default

    scaled_by = values.number("query_pre_attn_scalar", 256.0)
    return {
        "activation": "gelu",
        "norms_after": True,
        "norm_shift": 1.0,
        "embedding_scale": math.sqrt(config.d_model),
        "attention_scale": None if scaled_by == config.head_dim else scaled_by**-0.5,
        "attention_softcap": softcap("attn_logit_softcapping", attention_softcap),
        "logits_softcap": softcap("final_logit_softcapping", logits_softcap),
    }


def _granite(values: ConfigValues, config: ModelConfig) -> dict[str, Any]:
    """Granite multiplies embeddings, scores, what a layer adds, and logits by constants.

    Norms do not see the scale of what they normalise but in epsilon: a residual stream divided by
    the residual multiplier takes what layers add as it is.
    """
    residual = values.number("residual_multiplier", 1.0)
    return {
        "norm_eps": config.norm_eps / residual**2,
        "embedding_scale": values.number("embedding_multiplier", 1.0) / residual,
        "attention_scale": values.number("attention_multiplier", 1.0),
        "logits_scale": 1.0 / values.number("logits_scaling", 1.0),
    }
