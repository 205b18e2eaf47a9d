"""A model's hyperparameters under the keys of GGUF's metadata."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints.gguf_writer import Value
from cl_llama.convert.values import rope_of
from cl_llama.errors import ConfigError
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import (
    DynamicScaling,
    FactorScaling,
    LinearScaling,
    Llama3Scaling,
    Pairing,
    RopeConfig,
    YarnScaling,
    inverse_frequencies,
)

_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_FILE_TYPES = {None: 1, "q4_0": 2, "q8_0": 7, "q4_k": 15}
_QUANTIZATION_VERSION = 2


def gguf_architecture(config: ModelConfig, path: Path) -> str:
    """GGUF's name of the architecture; ConfigError where it has none."""
    name = _ARCHITECTURES.get(config.architecture)
    if name is None:
        raise ConfigError(
            f"{path}: {config.architecture} models cannot be written as GGUF; "
            f"{', '.join(_ARCHITECTURES)} can"
        )
    return name


def gguf_pairing(architecture: str) -> Pairing:
    """The rotary order of q's and k's rows in GGUF's files of an architecture."""
    return "adjacent" if architecture == "llama" else "half"


def model_metadata(config: ModelConfig, path: Path, quantize: str | None) -> dict[str, Value]:
    """The entries that describe the model; `path` is named in errors and names the model.

    Raises ConfigError for what GGUF has no key for.
    """
    name = gguf_architecture(config, path)
    entries: dict[str, Value] = {
        "general.architecture": name,
        "general.name": path.stem if path.is_file() else path.absolute().name,
        "general.file_type": _FILE_TYPES[quantize],
        f"{name}.vocab_size": config.vocab_size,
        f"{name}.context_length": _unextended_length(config),
        f"{name}.embedding_length": config.d_model,
        f"{name}.block_count": config.n_layers,
        f"{name}.feed_forward_length": config.d_ff,
        f"{name}.attention.head_count": config.n_heads,
        f"{name}.attention.head_count_kv": config.n_kv_heads,
        f"{name}.attention.key_length": config.head_dim,
        f"{name}.attention.value_length": config.head_dim,
        f"{name}.attention.layer_norm_rms_epsilon": float(config.norm_eps),
        f"{name}.rope.dimension_count": config.head_dim,
        f"{name}.rope.freq_base": float(rope_of(config).theta),
    }
    if quantize is not None:
        entries["general.quantization_version"] = _QUANTIZATION_VERSION
    window, *others = set(config.windows)
    if others:
        raise ConfigError(
            f"{path}: only some layers have an attention window, which GGUF has no key for in "
            f"{config.architecture} models"
        )
    if window is not None:
        entries[f"{name}.attention.sliding_window"] = window
    entries |= {
        f"{name}.rope.scaling.{key}": v for key, v in _scaling(rope_of(config), path).items()
    }
    return entries


def frequency_factors(config: ModelConfig) -> NDArray[np.float32] | None:
    """What the rotary frequencies of Llama 3.1's scaling are divided by, [K/2]; None: by nothing.

    GGUF holds them as a tensor, "rope_freqs.weight".
    """
    if not isinstance(rope_of(config).scaling, Llama3Scaling | FactorScaling):
        return None
    start = np.zeros(1, np.int64)
    plain = RopeConfig(rope_of(config).theta, rope_of(config).pairing)
    scaled = inverse_frequencies(rope_of(config), config.head_dim, start)
    factors_1P = inverse_frequencies(plain, config.head_dim, start) / scaled
    return np.asarray(factors_1P[0], "<f4")


def _unextended_length(config: ModelConfig) -> int:
    """A reader multiplies the length by linear scaling's factor itself."""
    scaling = rope_of(config).scaling
    if isinstance(scaling, LinearScaling):
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
        case DynamicScaling() | YarnScaling():
            kind = "dynamic" if isinstance(rope.scaling, DynamicScaling) else "untruncated YaRN"
            raise ConfigError(f"{path}: GGUF has no key for {kind} rotary scaling")
    return {}
