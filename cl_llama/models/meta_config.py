"""Meta's params.json, and the header of llama2.c files, which is given under the same names.

params.json leaves out what Meta's code fixes: the feed-forward width is taken from the weights;
the context length and the parameters of Llama 3.1's rotary scaling follow from the model.
"""

from cl_llama.checkpoints import Checkpoint
from cl_llama.errors import ConfigError
from cl_llama.models.config_values import ConfigValues
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import Llama3Scaling, RopeConfig

_UNSUPPORTED = (
    "quantization_args",
    "lora_args",
    "moe",
    "moe_args",
    "vision_chunk_size",
    "sliding_window",
)


def config_from_meta(checkpoint: Checkpoint) -> ModelConfig:
    """ModelConfig of a checkpoint with Meta's names (Meta's own or llama2.c's); ConfigError."""
    values = ConfigValues(checkpoint.path, checkpoint.config)
    values.forbid(_UNSUPPORTED, "only plain Llama models are supported in Meta's format")
    d_model = values.integer("dim", most=2**18)
    n_layers = values.integer("n_layers", most=1024)
    n_heads = values.integer("n_heads", most=4096)
    if not values.has("head_dim") and d_model % n_heads:
        raise values.error("dim", f"a multiple of n_heads ({n_heads})")
    theta = values.number("rope_theta", 10000.0, above=1.0)
    scaling = _scaling(values, d_model)
    return ModelConfig(
        architecture="llama",
        vocab_size=_vocab_size(checkpoint, values),
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=values.integer("n_kv_heads", n_heads, most=n_heads),
        head_dim=values.integer("head_dim", d_model // n_heads, most=1024),
        d_ff=values.integer(
            "hidden_dim", _rows(checkpoint, "layers.0.feed_forward.w1.weight"), most=2**20
        ),
        norm_eps=values.number("norm_eps", 1e-5, most=0.1),
        max_seq_len=values.integer(
            "max_seq_len", _context_length(values, theta, scaling), most=2**31 - 1
        ),
        rope=RopeConfig(theta, "adjacent", scaling),
        tied_embeddings=values.flag("tied", "output.weight" not in checkpoint.tensors),
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        qk_norm=False,
        windows=(None,) * n_layers,
        bos_id=None,
        eos_ids=(),
    )


def _vocab_size(checkpoint: Checkpoint, values: ConfigValues) -> int:
    """Llama 1 and 2 say -1 and leave it to the tokenizer; the embedding has the same number."""
    if values.values.get("vocab_size", -1) == -1:
        return _rows(checkpoint, "tok_embeddings.weight")
    return values.integer("vocab_size", most=2**24)


def _rows(checkpoint: Checkpoint, name: str) -> int:
    tensor = checkpoint.tensors.get(name)
    if tensor is None or len(tensor.shape) != 2:
        found = "is missing" if tensor is None else f"has shape {tensor.shape}"
        raise ConfigError(f"{checkpoint.path}: tensor {name} {found}; expected a matrix")
    return tensor.shape[0]


def _scaling(values: ConfigValues, d_model: int) -> Llama3Scaling | None:
    """Llama 3.1's scaling; `use_scaled_rope` is all that Meta's params.json says of it.

    The factor is 8, and 32 for the small models of Llama 3.2 (1B and 3B, the only ones narrower
    than 4096); files made by other tools state the parameters.
    """
    if not values.flag("use_scaled_rope", False):
        return None
    factor_key = next(
        (k for k in ("rope_scaling_factor", "rope_scale_factor") if values.has(k)), "scale_factor"
    )
    high_key = (
        "rope_high_freq_factor" if values.has("rope_high_freq_factor") else "high_freq_factor"
    )
    low = values.number("low_freq_factor", 1.0)
    high = values.number(high_key, 4.0)
    if high <= low:
        raise values.error(high_key, f"a number above low_freq_factor ({low:g})")
    return Llama3Scaling(
        factor=values.number(factor_key, 32.0 if d_model < 4096 else 8.0, least=1.0),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_positions=values.integer("old_context_len", 8192, most=2**31 - 1),
    )


def _context_length(values: ConfigValues, theta: float, scaling: Llama3Scaling | None) -> int:
    """The length that a model of this kind was trained for."""
    if scaling:
        return 131072  # Llama 3.1, 3.2, 3.3
    if theta == 1e6:
        return 16384  # Code Llama
    if theta >= 5e5:
        return 8192  # Llama 3
    # Llama 1 has an epsilon of 1e-6 but for its 65B, which Llama 2's 70B differs from by its GQA.
    big_llama_1 = values.values.get("n_layers") == 80 and not values.has("n_kv_heads")
    is_llama_1 = values.number("norm_eps", 1e-5, most=0.1) < 5e-6 or big_llama_1
    return 2048 if is_llama_1 else 4096
