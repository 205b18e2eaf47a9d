"""GPT-2's config.json.

Defaults of absent keys are those of the transformers class, because save_pretrained leaves out what
equals a default: GPT-2 small.
"""

from cl_llama.models.config_values import ConfigValues
from cl_llama.models.model_config import ModelConfig

_ACTIVATIONS = ("gelu_new", "gelu_fast", "gelu_pytorch_tanh")
"""All of them the approximation with tanh."""


def gpt2_from_hf(
    values: ConfigValues, bos_id: int | None, eos_ids: tuple[int, ...], tied_embeddings: bool
) -> ModelConfig:
    """ModelConfig of a GPT-2 in Hugging Face's format; raises ConfigError."""
    values.choice("activation_function", _ACTIVATIONS, _ACTIVATIONS[0])
    values.forbid(("scale_attn_by_inverse_layer_idx",), "scores are divided alike in every layer")
    if not values.flag("scale_attn_weights", True):
        raise values.error("scale_attn_weights", "true: scores are divided by sqrt(head width)")
    d_model = values.integer("n_embd", 768, most=2**18)
    n_heads = values.integer("n_head", 12, most=4096)
    if d_model % n_heads:
        raise values.error("n_embd", f"a multiple of n_head ({n_heads})")
    vocab_size = values.integer("vocab_size", 50257, most=2**24)
    return gpt2_config(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=values.integer("n_layer", 12, most=1024),
        n_heads=n_heads,
        d_ff=values.integer("n_inner", 4 * d_model, most=2**20),
        norm_eps=values.number("layer_norm_epsilon", 1e-5, most=0.1),
        max_seq_len=values.integer("n_positions", 1024, most=2**24),
        tied_embeddings=tied_embeddings,
        bos_id=bos_id,
        eos_ids=tuple(i for i in eos_ids if i < vocab_size),
    )


def gpt2_config(
    *,
    vocab_size: int,
    d_model: int,
    n_layers: int,
    n_heads: int,
    d_ff: int,
    norm_eps: float,
    max_seq_len: int,
    tied_embeddings: bool,
    bos_id: int | None,
    eos_ids: tuple[int, ...],
) -> ModelConfig:
    """What is the same in every GPT-2, with the sizes of one; see ModelConfig."""
    return ModelConfig(
        architecture="gpt2",
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=d_ff,
        norm_eps=norm_eps,
        max_seq_len=max_seq_len,
        rope=None,
        tied_embeddings=tied_embeddings,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        qk_norm=False,
        windows=(None,) * n_layers,
        bos_id=bos_id,
        eos_ids=eos_ids,
    )
