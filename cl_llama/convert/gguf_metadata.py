"""A model's hyperparameters under the keys of GGUF's metadata."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints.gguf_writer import Value
from cl_llama.errors import ConfigError
from cl_llama.models.gguf_features import WINDOW_PATTERNS, gemma_attention_scale
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

_OTHER_NAMES = {"mistral": "llama"}
"""Of architectures that GGUF calls otherwise."""
_FILE_TYPES = {None: 1, "q4_0": 2, "q8_0": 7, "q4_k": 15}
_QUANTIZATION_VERSION = 2


def model_metadata(config: ModelConfig, path: Path, quantize: str | None) -> dict[str, Value]:
    """The entries that describe the model; `path` is named in errors and names the model.

    Raises ConfigError for what GGUF has no key for.
    """
    name = _OTHER_NAMES.get(config.architecture, config.architecture)
    entries: dict[str, Value] = {
        "general.architecture": name,
        "general.name": path.stem if path.is_file() else path.absolute().name,
        "general.file_type": _FILE_TYPES[quantize],
    }
    if quantize is not None:
        entries["general.quantization_version"] = _QUANTIZATION_VERSION
    own: dict[str, Value] = {
        "vocab_size": config.vocab_size,
        "context_length": _unextended_length(config),
        "embedding_length": config.d_model,
        "block_count": config.n_layers,
        "feed_forward_length": config.d_ff,
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
    }
    if config.rope is None:
        own["attention.layer_norm_epsilon"] = float(config.norm_eps)
    else:
        own |= {
            "attention.key_length": config.head_dim,
            "attention.value_length": config.head_dim,
            "attention.layer_norm_rms_epsilon": float(config.norm_eps),
            "rope.dimension_count": config.rope.width or config.head_dim,
            "rope.freq_base": float(config.rope.theta),
        }
        own |= {f"rope.scaling.{key}": v for key, v in _scaling(config.rope, path).items()}
    own |= _windows(config, path) | _features(config, path)
    return entries | {f"{name}.{key}": value for key, value in own.items()}


def frequency_factors(config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    """Tensors by which rotary frequencies are divided, [width/2] each: Llama 3.1's and Phi-3's."""
    match config.rope:
        case RopeConfig(scaling=Llama3Scaling() | FactorScaling()) as rope:
            start = np.zeros(1, np.int64)
            plain = RopeConfig(rope.theta, rope.pairing)
            scaled = inverse_frequencies(rope, config.head_dim, start)
            factors_1P = inverse_frequencies(plain, config.head_dim, start) / scaled
            return {"rope_freqs.weight": np.asarray(factors_1P[0], "<f4")}
        case RopeConfig(scaling=LongRopeScaling() as scaling):
            return {
                "rope_factors_long.weight": np.array(scaling.long_factors, "<f4"),
                "rope_factors_short.weight": np.array(scaling.short_factors, "<f4"),
            }
    return {}


def _windows(config: ModelConfig, path: Path) -> dict[str, Value]:
    widths = {window for window in config.windows if window is not None}
    if not widths:
        return {}
    entries: dict[str, Value] = {"attention.sliding_window": max(widths)}
    pattern = 0
    if config.architecture in WINDOW_PATTERNS:
        pattern = [*config.windows, None].index(None) + 1
        entries["attention.sliding_window_pattern"] = pattern
    expected = tuple(
        None if pattern and (layer + 1) % pattern == 0 else max(widths)
        for layer in range(config.n_layers)
    )
    if config.windows != expected:
        raise ConfigError(
            f"{path}: only some layers have an attention window, which GGUF has no key for in "
            f"{config.architecture} models"
        )
    return entries


def _features(config: ModelConfig, path: Path) -> dict[str, Value]:
    """What Llama's kin does not have."""
    if config.architecture == "granite":
        return {
            "attention.scale": config.attention_scale or config.head_dim**-0.5,
            "embedding_scale": config.embedding_scale,
            "residual_scale": 1.0,
            "logit_scale": 1.0 / config.logits_scale,
        }
    entries: dict[str, Value] = {}
    if config.architecture in WINDOW_PATTERNS:
        if config.attention_scale != gemma_attention_scale(config):
            raise ConfigError(
                f"{path}: GGUF has no key for query_pre_attn_scalar, which is not the head width"
            )
        if (config.attention_softcap is None) == (config.architecture == "gemma2"):
            raise ConfigError(
                f"{path}: GGUF limits the scores of all Gemma 2 models and of no Gemma 3, and so "
                "must attn_logit_softcapping"
            )
        if config.attention_softcap is not None:
            entries["attn_logit_softcapping"] = config.attention_softcap
        if config.logits_softcap is not None or config.architecture == "gemma2":
            entries["final_logit_softcapping"] = config.logits_softcap or 0.0
    if config.local_rope is not None:
        entries["rope.freq_base_swa"] = config.local_rope.theta
    return entries


def _unextended_length(config: ModelConfig) -> int:
    """A reader multiplies the length by linear scaling's factor itself, but for Gemma 3."""
    scaling = None if config.rope is None else config.rope.scaling
    if isinstance(scaling, LinearScaling) and config.local_rope is None:
        return round(config.max_seq_len / scaling.factor)
    return config.max_seq_len


def _scaling(rope: RopeConfig, path: Path) -> dict[str, Value]:
    match rope.scaling:
        case LinearScaling(factor=factor):
            return {"type": "linear", "factor": float(factor)}
        case YarnScaling(truncate=True) as yarn:
            usual = 0.1 * math.log(yarn.factor) + 1.0
            return {
                "type": "yarn",
                "factor": float(yarn.factor),
                "original_context_length": yarn.original_max_positions,
                "attn_factor": yarn.attention_factor / usual,
                "yarn_beta_fast": float(yarn.beta_fast),
                "yarn_beta_slow": float(yarn.beta_slow),
            }
        case LongRopeScaling() as longrope:
            return {
                "original_context_length": longrope.original_max_positions,
                "attn_factor": longrope.attention_factor,
            }
        case DynamicScaling() | YarnScaling():
            kind = "dynamic" if isinstance(rope.scaling, DynamicScaling) else "untruncated YaRN"
            raise ConfigError(f"{path}: GGUF has no key for {kind} rotary scaling")
    return {}
