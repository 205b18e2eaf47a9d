"""A GGUF file's metadata: the architecture's name, then keys that begin with it.

The keys and what is assumed where one is absent: the specification (gguf.md of
https://github.com/ggml-org/ggml) and llama.cpp. Mistral's models are of the architecture "llama".
"""

from dataclasses import replace

import numpy as np

from cl_llama.checkpoints import Checkpoint
from cl_llama.errors import ConfigError
from cl_llama.models.config_values import ConfigValues
from cl_llama.models.gguf_features import READ_KEYS, features_from_gguf
from cl_llama.models.gpt2_config import gpt2_config
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import (
    FactorScaling,
    LinearScaling,
    LongRopeScaling,
    Pairing,
    RopeConfig,
    RopeScaling,
    YarnScaling,
    yarn_attention_factor,
)

_MOST_POSITIONS = 2**31 - 1
PAIRINGS: dict[str, Pairing] = {
    "llama": "adjacent",
    "qwen2": "half",
    "qwen3": "half",
    "granite": "adjacent",
    "phi3": "half",
    "olmo2": "half",
    "gemma2": "half",
    "gemma3": "half",
}
"""Of the channels in each architecture's files; adjacent ones are stored reordered for it."""

# Keys, behind the architecture's name, under which a file's model computes something else.
_UNSUPPORTED = (
    "expert_count",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.output_scale",
    "attention.scale",
    "attention.sliding_window_pattern",
    "attention.temperature_scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
    "rope.dimension_sections",
    "rope.scaling.alpha",
)


def config_from_gguf(checkpoint: Checkpoint) -> ModelConfig:
    """ModelConfig of a GGUF checkpoint; raises ConfigError."""
    values = ConfigValues(checkpoint.path, checkpoint.config)
    architecture = values.values.get("general.architecture")
    supported = (*PAIRINGS, "gpt2")
    if not isinstance(architecture, str) or architecture not in supported:
        raise values.error("general.architecture", f"one of {', '.join(supported)}")
    if not checkpoint.tensors:
        raise ConfigError(f"{checkpoint.path}: this GGUF file holds a vocabulary alone, no weights")

    def key(name: str) -> str:
        return f"{architecture}.{name}"

    values.forbid(
        tuple(key(name) for name in _UNSUPPORTED if name not in READ_KEYS.get(architecture, ())),
        f"a plain {architecture} model has no such feature",
    )
    d_model = values.integer(key("embedding_length"), most=2**18)
    n_layers = values.integer(key("block_count"), most=1024)
    n_heads = values.integer(key("attention.head_count"), most=4096)
    if not values.has(key("attention.key_length")) and d_model % n_heads:
        raise values.error(
            key("embedding_length"),
            f"a multiple of {key('attention.head_count')} ({n_heads}), or an explicit"
            f" {key('attention.key_length')}",
        )
    head_dim = values.integer(key("attention.key_length"), d_model // n_heads, most=1024)
    rotating = values.integer(key("rope.dimension_count"), head_dim, most=2**20, least=0)
    if architecture != "phi3" and rotating != head_dim:
        raise values.error(key("rope.dimension_count"), f"{head_dim}, the width of a head")
    if rotating % 2 or not 0 < rotating <= head_dim:
        raise values.error(key("rope.dimension_count"), f"an even number of at most {head_dim}")
    if values.integer(key("attention.value_length"), head_dim, most=2**20, least=0) != head_dim:
        raise values.error(key("attention.value_length"), f"{head_dim}, the width of a head")
    bos_ids = values.token_ids("tokenizer.ggml.bos_token_id")
    if architecture == "gpt2":
        return gpt2_config(
            vocab_size=_vocab_size(checkpoint),
            d_model=n_heads * head_dim,
            n_layers=n_layers,
            n_heads=n_heads,
            d_ff=values.integer(key("feed_forward_length"), most=2**20),
            norm_eps=values.number(key("attention.layer_norm_epsilon"), most=0.1),
            max_seq_len=values.integer(key("context_length"), most=2**24),
            tied_embeddings="output.weight" not in checkpoint.tensors,
            bos_id=bos_ids[0] if bos_ids else None,
            eos_ids=(),
        )
    window = values.integer(key("attention.sliding_window"), 0, most=2**32 - 1, least=0) or None
    rope, max_seq_len = _rope(checkpoint, values, architecture, rotating)
    if rotating != head_dim:
        rope = replace(rope, width=rotating)
    tensors = checkpoint.tensors
    config = ModelConfig(
        architecture=architecture,
        vocab_size=_vocab_size(checkpoint),
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=values.integer(key("attention.head_count_kv"), n_heads, most=n_heads),
        head_dim=head_dim,
        d_ff=values.integer(key("feed_forward_length"), most=2**20),
        norm_eps=values.number(key("attention.layer_norm_rms_epsilon"), most=0.1),
        max_seq_len=max_seq_len,
        rope=rope,
        tied_embeddings="output.weight" not in tensors,
        qkv_bias=architecture == "qwen2" or "blk.0.attn_q.bias" in tensors,
        o_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_up.bias" in tensors,
        qk_norm=architecture == "qwen3",
        windows=(window,) * n_layers,
        bos_id=bos_ids[0] if bos_ids else None,
        eos_ids=(),  # the tokenizer knows them from the same file
    )
    return replace(config, **features_from_gguf(values, config))


def _vocab_size(checkpoint: Checkpoint) -> int:
    """The embedding's rows; a vocabulary in the metadata may be shorter."""
    embedding = checkpoint.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        found = "is missing" if embedding is None else f"has shape {embedding.shape}"
        raise ConfigError(f"{checkpoint.path}: tensor token_embd.weight {found}; expected a matrix")
    return embedding.shape[0]


def _rope(
    checkpoint: Checkpoint, values: ConfigValues, architecture: str, width: int
) -> tuple[RopeConfig, int]:
    """The rotary embedding, and the number of positions it makes usable.

    The length is `context_length`, extended as config.json's is: see `rope_from_hf`.
    """
    prefix = f"{architecture}.rope."
    length = values.integer(f"{architecture}.context_length", most=_MOST_POSITIONS)
    theta = values.number(prefix + "freq_base", 10000.0, above=1.0)
    if architecture == "phi3" and "rope_factors_long.weight" in checkpoint.tensors:
        longrope = _longrope(checkpoint, values, prefix + "scaling.", length, width)
        return RopeConfig(theta, "half", longrope), length
    kind = values.choice(prefix + "scaling.type", ("none", "linear", "yarn"), "linear")
    old_factor = values.number(prefix + "scale_linear", 1.0, least=0.0)
    factor = values.number(prefix + "scaling.factor", old_factor, least=0.0) or 1.0
    scaling: RopeScaling | None = None
    if kind == "yarn":
        yarn = _yarn(values, prefix + "scaling.", length, factor)
        length = max(length, int(yarn.original_max_positions * factor))
        scaling = yarn
    elif kind == "linear" and factor != 1.0:
        length = int(length * factor)
        scaling = LinearScaling(factor)
    divisors = _divisors(checkpoint, "rope_freqs.weight", width)
    if divisors:
        if isinstance(scaling, YarnScaling):
            raise values.error(
                prefix + "scaling.type", "none or linear in a file with a rope_freqs.weight"
            )
        if scaling is not None:
            divisors = tuple(divisor * factor for divisor in divisors)
        scaling = FactorScaling(divisors)
    return RopeConfig(theta, PAIRINGS[architecture], scaling), min(length, _MOST_POSITIONS)


def _yarn(values: ConfigValues, prefix: str, length: int, factor: float) -> YarnScaling:
    if factor < 1.0:
        raise values.error(prefix + "factor", "a number of at least 1")
    if values.number(prefix + "yarn_ext_factor", 1.0, least=-1.0) not in (1.0, -1.0):
        raise values.error(prefix + "yarn_ext_factor", "1, or -1 for the default")
    own = values.number(prefix + "attn_factor", 1.0)
    own *= values.number(prefix + "yarn_attn_factor", 1.0)
    beta_fast = values.number(prefix + "yarn_beta_fast", 32.0)
    beta_slow = values.number(prefix + "yarn_beta_slow", 1.0)
    if beta_fast < beta_slow:
        raise values.error(prefix + "yarn_beta_fast", f"a number of at least {beta_slow:g}")
    return YarnScaling(
        factor=factor,
        original_max_positions=values.integer(
            prefix + "original_context_length", length, most=_MOST_POSITIONS
        ),
        attention_factor=own * yarn_attention_factor(factor),
        beta_fast=beta_fast,
        beta_slow=beta_slow,
    )


def _longrope(
    checkpoint: Checkpoint, values: ConfigValues, prefix: str, length: int, width: int
) -> LongRopeScaling:
    """Phi-3's two lists of divisors."""
    short_factors, long_factors = (
        _divisors(checkpoint, f"rope_factors_{name}.weight", width) for name in ("short", "long")
    )
    if not short_factors:
        raise ConfigError(f"{checkpoint.path}: tensor rope_factors_short.weight is missing")
    return LongRopeScaling(
        short_factors=short_factors,
        long_factors=long_factors,
        original_max_positions=values.integer(
            prefix + "original_context_length", length, most=_MOST_POSITIONS
        ),
        attention_factor=values.number(prefix + "attn_factor", 1.0),
        longest=length,
    )


def _divisors(checkpoint: Checkpoint, name: str, width: int) -> tuple[float, ...]:
    """What the pairs' frequencies are divided by: a scaling, worked out; () without the tensor."""
    tensor = checkpoint.tensors.get(name)
    if tensor is None:
        return ()
    if tensor.shape != (width // 2,):
        raise ConfigError(
            f"{checkpoint.path}: tensor {name} has shape {tensor.shape}, expected"
            f" ({width // 2},): half of a head's channels that rotate"
        )
    divisors = tensor.read_rows(0, width // 2).astype(np.float64)
    if not (np.isfinite(divisors) & (divisors > 0)).all():
        raise ConfigError(
            f"{checkpoint.path}: tensor {name} holds {divisors.min():g} among its"
            " values, expected positive ones"
        )
    return tuple(divisors.tolist())
