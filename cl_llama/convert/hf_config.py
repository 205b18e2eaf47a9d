"""A model's hyperparameters as Hugging Face's config.json."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.convert.values import rope_of
from cl_llama.errors import ConfigError
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import (
    DynamicScaling,
    FactorScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeConfig,
    YarnScaling,
    inverse_frequencies,
)

_CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "granite": "GraniteForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
}
_BIASED = ("llama", "qwen3", "granite", "olmo2")
"""Classes with one flag for the biases of all four projections."""


def hf_config(
    config: ModelConfig, path: Path, bos_id: int | None, eos_ids: tuple[int, ...]
) -> dict[str, Any]:
    """The content of config.json; `path` is named in errors.

    Raises ConfigError for what the architecture's class has no key for.
    """
    architecture = _architecture(config, path)
    entries: dict[str, Any] = {
        "architectures": [_CLASSES[architecture]],
        "model_type": architecture,
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": rope_of(config).theta,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": bos_id,
        "eos_token_id": list(eos_ids) if len(eos_ids) > 1 else next(iter(eos_ids), None),
        "torch_dtype": "float16",
        **_positions(config, path),
    }
    if architecture in _BIASED:
        entries["attention_bias"] = config.qkv_bias
    if architecture in ("llama", "granite"):
        entries["mlp_bias"] = config.mlp_bias
    if architecture in ("mistral", "phi3"):
        entries["sliding_window"] = config.windows[0]
    if architecture == "granite":
        entries |= _granite(config)
    if architecture == "phi3":
        entries |= _phi3(config)
    if architecture in ("gemma2", "gemma3"):
        del entries["hidden_act"]
        entries |= _gemma(config)
    if architecture in ("qwen2", "qwen3"):
        entries |= _qwen_windows(config)
    return entries


def _architecture(config: ModelConfig, path: Path) -> str:
    """The class that computes this model; GGUF calls Mistral's models Llama's."""
    windowed = any(window is not None for window in config.windows)
    name = "mistral" if config.architecture == "llama" and windowed else config.architecture
    has_o_bias = config.qkv_bias and name in _BIASED
    expressible = (
        name in _CLASSES
        and config.o_bias == has_o_bias
        and not (config.qkv_bias and name == "mistral")
        and not (config.mlp_bias and name not in ("llama", "granite"))
    )
    if not expressible:
        raise ConfigError(
            f"{path}: no class of transformers is a {name} model with these biases"
            if name in _CLASSES
            else f"{path}: {name} models have no config.json here; {', '.join(_CLASSES)} have"
        )
    return name


def _qwen_windows(config: ModelConfig) -> dict[str, Any]:
    entries = _layer_windows(config)
    return {"use_sliding_window": entries["sliding_window"] is not None} | entries


def _layer_windows(config: ModelConfig) -> dict[str, Any]:
    return {
        "sliding_window": next((window for window in config.windows if window is not None), None),
        "layer_types": [
            "full_attention" if window is None else "sliding_attention" for window in config.windows
        ],
    }


def _granite(config: ModelConfig) -> dict[str, Any]:
    """ModelConfig has the residual multiplier in the others."""
    return {
        "embedding_multiplier": config.embedding_scale,
        "attention_multiplier": config.attention_scale or config.head_dim**-0.5,
        "residual_multiplier": 1.0,
        "logits_scaling": 1 / config.logits_scale,
    }


def _phi3(config: ModelConfig) -> dict[str, Any]:
    rope = rope_of(config)
    share = (rope.width or config.head_dim) / config.head_dim
    if int(config.head_dim * share) != (rope.width or config.head_dim):
        share = math.nextafter(share, 1.0)  # readers round the product down
    entries: dict[str, Any] = {"partial_rotary_factor": share, "pad_token_id": None}
    if isinstance(rope.scaling, LongRopeScaling):
        entries["original_max_position_embeddings"] = rope.scaling.original_max_positions
    return entries


def _gemma(config: ModelConfig) -> dict[str, Any]:
    scale = config.attention_scale
    entries = {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": config.head_dim if scale is None else round(scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logits_softcap,
        **_layer_windows(config),
    }
    if config.architecture == "gemma3":
        entries["model_type"] = "gemma3_text"
    if config.local_rope is not None:
        entries["rope_local_base_freq"] = config.local_rope.theta
    return entries


def _positions(config: ModelConfig, path: Path) -> dict[str, Any]:
    """The length before it is extended, and the extension."""
    length, scaling = config.max_seq_len, rope_of(config).scaling
    entry: dict[str, Any] | None = None
    if isinstance(scaling, FactorScaling):
        scaling = _llama3(config, scaling, path)
    match scaling:
        case LinearScaling(factor=factor):
            if config.local_rope is None:  # Gemma 3 states the whole length
                length = round(length / factor)
            entry = {"rope_type": "linear", "factor": factor}
        case DynamicScaling(factor=factor, original_max_positions=length):
            entry = {"rope_type": "dynamic", "factor": factor}
        case YarnScaling() as yarn:
            entry = {
                "rope_type": "yarn",
                "factor": yarn.factor,
                "original_max_position_embeddings": yarn.original_max_positions,
                "attention_factor": yarn.attention_factor,
                "beta_fast": yarn.beta_fast,
                "beta_slow": yarn.beta_slow,
                "truncate": yarn.truncate,
            }
        case LongRopeScaling() as longrope:
            entry = {
                "rope_type": "longrope",
                "short_factor": list(longrope.short_factors),
                "long_factor": list(longrope.long_factors),
                "attention_factor": longrope.attention_factor,
            }
        case Llama3Scaling() as llama3:
            entry = {
                "rope_type": "llama3",
                "factor": llama3.factor,
                "low_freq_factor": llama3.low_freq_factor,
                "high_freq_factor": llama3.high_freq_factor,
                "original_max_position_embeddings": llama3.original_max_positions,
            }
    return {"max_position_embeddings": length, "rope_scaling": entry}


def _llama3(config: ModelConfig, found: FactorScaling, path: Path) -> Llama3Scaling:
    """The scaling of Llama 3.1 and later that the factors come from; they all have its bounds."""
    start = np.zeros(1, np.int64)
    theta, pairing = rope_of(config).theta, rope_of(config).pairing

    def frequencies(scaling: Llama3Scaling | None) -> NDArray[np.float64]:
        rope = RopeConfig(theta, pairing, scaling)
        return np.asarray(inverse_frequencies(rope, config.head_dim, start)[0])

    for original in (8192, *(1 << n for n in range(4, 20))):
        scaling = Llama3Scaling(float(round(max(found.factors))), 1.0, 4.0, original)
        factors = frequencies(None) / frequencies(scaling)
        if np.allclose(factors, found.factors, rtol=1e-5):
            return scaling
    raise ConfigError(
        f"{path}: its rotary frequencies are scaled by factors that are not Llama 3.1's, which "
        "config.json has no key for"
    )
