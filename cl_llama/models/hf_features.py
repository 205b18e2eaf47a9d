"""What models beyond Llama's kin state in Hugging Face's config.json, as ModelConfig has it."""

from typing import Any

from cl_llama.models.config_values import ConfigValues
from cl_llama.models.model_config import ModelConfig


def features_from_hf(values: ConfigValues, config: ModelConfig) -> dict[str, Any]:
    """Fields of ModelConfig that are not a Llama's; raises ConfigError."""
    if config.architecture == "granite":
        return _granite(values, config)
    if config.architecture == "phi3":
        values.forbid(("attention_bias", "mlp_bias", "lm_head_bias"), "Phi-3 has no biases")
    if config.architecture == "olmo2":
        return {"norms_after": True, "qk_norm": True, "qk_norm_whole": True}
    return {}


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
