"""From a checkpoint's own configuration to a ModelConfig, checked value by value."""

from cl_llama.checkpoints import Checkpoint
from cl_llama.errors import ConfigError
from cl_llama.models.gguf_config import config_from_gguf
from cl_llama.models.hf_config import config_from_hf
from cl_llama.models.meta_config import config_from_meta
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import DynamicScaling, LongRopeScaling

__all__ = ["ModelConfig", "config_from_checkpoint"]


def config_from_checkpoint(checkpoint: Checkpoint) -> ModelConfig:
    """Read the configuration of an opened checkpoint.

    Raises ConfigError for a missing, unsupported or contradictory value; the message names the
    key, the value and what is supported.
    """
    readers = {"hf": config_from_hf, "gguf": config_from_gguf}
    config = readers.get(checkpoint.format, config_from_meta)(checkpoint)
    _check_shapes_agree(config, checkpoint)
    return config


def _check_shapes_agree(config: ModelConfig, checkpoint: Checkpoint) -> None:
    if config.n_heads % config.n_kv_heads:
        raise ConfigError(
            f"{checkpoint.path}: {config.n_heads} query heads cannot share {config.n_kv_heads} "
            "key/value heads evenly; expected a divisor of the number of query heads"
        )
    if config.head_dim % 2:
        raise ConfigError(
            f"{checkpoint.path}: the head width is {config.head_dim}; expected an even one"
        )
    scaling = None if config.rope is None else config.rope.scaling
    if isinstance(scaling, DynamicScaling) and config.head_dim < 4:
        raise ConfigError(
            f"{checkpoint.path}: the head width is {config.head_dim}; dynamic rotary scaling needs "
            "at least 4"
        )
    if isinstance(scaling, LongRopeScaling):
        pairs = ((config.rope and config.rope.width) or config.head_dim) // 2
        for name, factors in (("short", scaling.short_factors), ("long", scaling.long_factors)):
            if len(factors) != pairs:
                raise ConfigError(
                    f"{checkpoint.path}: {name}_factor has {len(factors)} numbers; expected "
                    f"{pairs}, one for every pair of channels that rotates"
                )
    if config.bos_id is not None and config.bos_id >= config.vocab_size:
        raise ConfigError(
            f"{checkpoint.path}: bos_token_id is {config.bos_id}; expected an id below the "
            f"vocabulary size {config.vocab_size}"
        )
