"""What models beyond Llama's kin state in a GGUF file's metadata, as ModelConfig has it.

Where the file says nothing, what llama.cpp does with such a file holds.
"""

import math
from typing import Any

from cl_llama.models.config_values import ConfigValues
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import RopeConfig

READ_KEYS = {
    "granite": ("attention.scale", "embedding_scale", "residual_scale", "logit_scale"),
    "gemma2": (
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "attention.sliding_window_pattern",
    ),
    "gemma3": ("final_logit_softcapping", "attention.sliding_window_pattern"),
}
"""Keys, behind the architecture's name, that its files have and others may not."""

_27B_LAYERS = {"gemma2": 46, "gemma3": 62}
"""Layers of the models whose scores are not divided by the square root of the head's width."""
WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6}
"""Every so manyth layer has no window, where a file does not say."""


def features_from_gguf(values: ConfigValues, config: ModelConfig) -> dict[str, Any]:
    """Fields of ModelConfig that are not a Llama's; raises ConfigError."""
    name = config.architecture
    if name == "granite":
        return _granite(values, config)
    if name == "olmo2":
        norms = {"norms_before": False, "norms_after": True}
        return norms | {"qk_norm": True, "qk_norm_whole": True}
    if name == "gemma2":
        return _gemma(values, config, default_window=4096)
    if name == "gemma3":
        theta = values.number("gemma3.rope.freq_base_swa", 10000.0, above=1.0)
        return _gemma(values, config, default_window=None) | {
            "qk_norm": True,
            "local_rope": RopeConfig(theta, "half"),
            "max_seq_len": values.integer("gemma3.context_length", most=2**31 - 1),
        }
    return {}


def gemma_attention_scale(config: ModelConfig) -> float | None:
    """Times a query's product with a key; GGUF has no key for it. None: 1 / sqrt(K)."""
    if config.n_layers != _27B_LAYERS[config.architecture]:
        return None
    return 1 / math.sqrt(config.d_model // config.n_heads)


def _gemma(
    values: ConfigValues, config: ModelConfig, *, default_window: int | None
) -> dict[str, Any]:
    """What both have in common; norms' weights have their 1 added in the file."""
    name = config.architecture
    window = values.integer(f"{name}.attention.sliding_window", default_window, most=2**31 - 1)
    pattern = values.integer(
        f"{name}.attention.sliding_window_pattern", WINDOW_PATTERNS[name], most=1024
    )

    def softcap(key: str, default: float) -> float | None:
        return values.number(f"{name}.{key}", default, least=0.0) or None

    is_second = name == "gemma2"
    return {
        "activation": "gelu",
        "norms_after": True,
        "embedding_scale": math.sqrt(config.d_model),
        "attention_scale": gemma_attention_scale(config),
        "attention_softcap": softcap("attn_logit_softcapping", 50.0) if is_second else None,
        "logits_softcap": softcap("final_logit_softcapping", 30.0 if is_second else 0.0),
        "windows": tuple(
            None if (layer + 1) % pattern == 0 else window for layer in range(config.n_layers)
        ),
    }


def _granite(values: ConfigValues, config: ModelConfig) -> dict[str, Any]:
    """Granite's multipliers, taken into others as from its config.json; 0 is none."""

    def scale(key: str) -> float | None:
        return values.number(f"granite.{key}", 0.0, least=0.0) or None

    residual = scale("residual_scale") or 1.0
    return {
        "norm_eps": config.norm_eps / residual**2,
        "embedding_scale": (scale("embedding_scale") or 1.0) / residual,
        "attention_scale": scale("attention.scale"),
        "logits_scale": 1.0 / (scale("logit_scale") or 1.0),
    }
