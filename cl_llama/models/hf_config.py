"""Hugging Face's config.json and generation_config.json.

Defaults of absent keys are those of the transformers classes, because save_pretrained leaves out
what equals a default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cl_llama.checkpoints import Checkpoint
from cl_llama.models.config_values import ConfigValues
from cl_llama.models.gpt2_config import gpt2_from_hf
from cl_llama.models.hf_features import features_from_hf
from cl_llama.models.hf_rope import rope_from_hf
from cl_llama.models.language_part import language_config
from cl_llama.models.model_config import ModelConfig


@dataclass(frozen=True)
class _Family:
    """What transformers' configuration class of an architecture assumes where a key is absent."""

    architecture: str
    max_positions: int
    kv_heads: int | None = None  # None: as many as query heads
    head_dim: int | None = None  # None: hidden_size / num_attention_heads
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rotates_partly: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Of what others have to state, by the key."""


_GEMMA_SIZES = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
}
_FAMILIES = {
    "LlamaForCausalLM": _Family("llama", 2048, bos_id=1, eos_ids=(2,)),
    "MistralForCausalLM": _Family("mistral", 131072, kv_heads=8, bos_id=1, eos_ids=(2,)),
    "Qwen2ForCausalLM": _Family("qwen2", 32768, kv_heads=32),
    "Qwen3ForCausalLM": _Family("qwen3", 32768, kv_heads=32, head_dim=128),
    "GraniteForCausalLM": _Family("granite", 2048, bos_id=1, eos_ids=(2,)),
    "Phi3ForCausalLM": _Family(
        "phi3", 4096, bos_id=1, eos_ids=(32000,), norm_eps=1e-5, rotates_partly=True
    ),
    "Olmo2ForCausalLM": _Family("olmo2", 2048, eos_ids=(50279,), norm_eps=1e-5),
    "Gemma2ForCausalLM": _Family(
        "gemma2",
        8192,
        kv_heads=4,
        head_dim=256,
        bos_id=2,
        eos_ids=(1,),
        sizes=_GEMMA_SIZES | {"vocab_size": 256000},
    ),
    "Gemma3ForCausalLM": _Family(
        "gemma3",
        131072,
        kv_heads=4,
        head_dim=256,
        bos_id=2,
        eos_ids=(1,),
        rope_theta=1e6,
        sizes=_GEMMA_SIZES | {"vocab_size": 262208},
    ),
    "GPT2LMHeadModel": _Family("gpt2", 1024, bos_id=50256, eos_ids=(50256,)),
}

# Keys under which other models of these families, or derivatives of them, compute something else.
_SOFTCAPS = ("attn_logit_softcapping", "final_logit_softcapping")
_UNSUPPORTED = (
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "clip_qkv",
    "no_rope_layers",
    "add_cross_attention",
    "is_encoder_decoder",
)


def config_from_hf(checkpoint: Checkpoint) -> ModelConfig:
    """ModelConfig of a checkpoint in Hugging Face's format; raises ConfigError."""
    values = ConfigValues(checkpoint.path, language_config(checkpoint))
    family = _family(values)
    is_gemma = family.architecture in ("gemma2", "gemma3")
    values.forbid(
        ("quantization_config", "compression_config"),
        "quantised Hugging Face checkpoints are not supported, take the f16, bf16 or f32 one",
    )
    unsupported = _UNSUPPORTED if is_gemma else _UNSUPPORTED + _SOFTCAPS
    values.forbid(unsupported, f"a plain {family.architecture} model has no such feature")
    bos_id, eos_ids = _special_ids(checkpoint, values, family)
    if family.architecture == "gpt2":
        tied = values.flag("tie_word_embeddings", True)
        return gpt2_from_hf(values, bos_id, eos_ids, tied)
    if not is_gemma:
        values.choice("hidden_act", ("silu", "swish"), "silu")
    sizes = family.sizes

    d_model = values.integer("hidden_size", sizes.get("hidden_size"), most=2**18)
    n_layers = values.integer("num_hidden_layers", sizes.get("num_hidden_layers"), most=1024)
    n_heads = values.integer("num_attention_heads", sizes.get("num_attention_heads"), most=4096)
    if "num_key_value_heads" in values.values or family.kv_heads is None:
        n_kv_heads = values.integer("num_key_value_heads", n_heads, most=n_heads)
    else:
        n_kv_heads = family.kv_heads
    head_dim = _head_dim(values, family, d_model, n_heads)
    rope, max_seq_len = rope_from_hf(
        values,
        family.max_positions,
        head_dim if family.rotates_partly else None,
        default_theta=family.rope_theta,
        by_layers=family.architecture == "gemma3",
    )
    biased = family.architecture in ("llama", "qwen3", "granite", "olmo2") and values.flag(
        "attention_bias", False
    )
    vocab_size = values.integer("vocab_size", sizes.get("vocab_size"), most=2**24)
    config = ModelConfig(
        architecture=family.architecture,
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        d_ff=values.integer("intermediate_size", sizes.get("intermediate_size"), most=2**20),
        norm_eps=values.number("rms_norm_eps", family.norm_eps, most=0.1),
        max_seq_len=max_seq_len,
        rope=rope,
        tied_embeddings=_tied(checkpoint, values),
        qkv_bias=biased or family.architecture == "qwen2",
        o_bias=biased,
        mlp_bias=family.architecture in ("llama", "granite") and values.flag("mlp_bias", False),
        qk_norm=family.architecture == "qwen3",
        windows=_windows(values, family, n_layers),
        bos_id=bos_id,
        # An id that is not in the vocabulary can never be generated.
        eos_ids=tuple(i for i in eos_ids if i < vocab_size),
    )
    return replace(config, **features_from_hf(values, config))


def _family(values: ConfigValues) -> _Family:
    supported = ", ".join(_FAMILIES)
    if values.values.get("architectures"):
        names = values.values["architectures"]
        if isinstance(names, list) and len(names) == 1 and isinstance(names[0], str):
            family = _FAMILIES.get(names[0])
            if family:
                return family
        raise values.error("architectures", f"one of {supported}")
    by_type = {family.architecture: family for family in _FAMILIES.values()}
    by_type["gemma3_text"] = by_type.pop("gemma3")
    model_type = values.values.get("model_type")
    if isinstance(model_type, str) and model_type in by_type:
        return by_type[model_type]
    if model_type is None:
        raise values.error("architectures", f"one of {supported}")
    raise values.error("model_type", f"one of {', '.join(by_type)}")


def _head_dim(values: ConfigValues, family: _Family, d_model: int, n_heads: int) -> int:
    if values.has("head_dim"):
        return values.integer("head_dim", most=1024)
    if family.head_dim is not None and "head_dim" not in values.values:
        return family.head_dim
    if d_model % n_heads:
        raise values.error(
            "hidden_size", f"a multiple of num_attention_heads ({n_heads}), or an explicit head_dim"
        )
    return d_model // n_heads


def _tied(checkpoint: Checkpoint, values: ConfigValues) -> bool:
    """The flag; where there is none, whether the file has no output matrix."""
    return values.flag("tie_word_embeddings", "lm_head.weight" not in checkpoint.tensors)


def _windows(values: ConfigValues, family: _Family, n_layers: int) -> tuple[int | None, ...]:
    """Mistral and Phi-3: every layer; Gemma: all but every second or sixth, or as `layer_types` has
    it; Qwen: `layer_types`, else from `max_window_layers` up."""
    if family.architecture in ("llama", "granite", "olmo2"):
        return (None,) * n_layers
    if family.architecture in ("gemma2", "gemma3"):
        return _gemma_windows(values, family, n_layers)
    if family.architecture == "phi3":
        has_window = values.has("sliding_window")
        window = values.integer("sliding_window", most=2**31 - 1) if has_window else None
        return (window,) * n_layers
    is_mistral = family.architecture == "mistral"
    window = None
    if is_mistral or values.flag("use_sliding_window", False):
        is_null = "sliding_window" in values.values and not values.has("sliding_window")
        window = None if is_null else values.integer("sliding_window", 4096, most=2**31 - 1)
    if is_mistral:
        all_alike = [window is not None] * n_layers
        if values.has("layer_types") and _sliding_layers(values, n_layers) != all_alike:
            raise values.error("layer_types", "the same kind of attention in every Mistral layer")
        return (window,) * n_layers
    if values.has("layer_types"):
        sliding = _sliding_layers(values, n_layers)
        if any(sliding) and window is None:
            raise values.error(
                "layer_types", "no sliding_attention without use_sliding_window and sliding_window"
            )
    else:
        first = values.integer("max_window_layers", 28, most=2**31 - 1, least=0)
        sliding = [layer >= first for layer in range(n_layers)]
    return tuple(window if slides else None for slides in sliding)


def _gemma_windows(values: ConfigValues, family: _Family, n_layers: int) -> tuple[int | None, ...]:
    if "sliding_window" in values.values and not values.has("sliding_window"):
        raise values.error("sliding_window", "a whole number: some of the layers have a window")
    window = values.integer("sliding_window", 4096, most=2**31 - 1)
    pattern = 2
    if family.architecture == "gemma3":
        pattern = values.integer("sliding_window_pattern", 6, most=1024)
    sliding = [(layer + 1) % pattern != 0 for layer in range(n_layers)]
    if values.has("layer_types"):
        sliding = _sliding_layers(values, n_layers)
    return tuple(window if slides else None for slides in sliding)


def _sliding_layers(values: ConfigValues, n_layers: int) -> list[bool]:
    kinds = {"full_attention": False, "sliding_attention": True}
    names = values.values["layer_types"]
    if (
        not isinstance(names, list)
        or len(names) != n_layers
        or any(not isinstance(name, str) or name not in kinds for name in names)
    ):
        raise values.error("layer_types", f"a list of {n_layers} of {', '.join(kinds)}")
    return [kinds[name] for name in names]


def _special_ids(
    checkpoint: Checkpoint, values: ConfigValues, family: _Family
) -> tuple[int | None, tuple[int, ...]]:
    """Beginning and end tokens: generation_config.json's, else config.json's, else the class's."""
    generation = ConfigValues(checkpoint.path, checkpoint.generation_config, "generation_config")

    def ids(key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        if generation.has(key):
            return generation.token_ids(key)
        return values.token_ids(key) if key in values.values else default

    bos_ids = ids("bos_token_id", () if family.bos_id is None else (family.bos_id,))
    return (bos_ids[0] if bos_ids else None), ids("eos_token_id", family.eos_ids)
