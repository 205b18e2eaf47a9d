"""What a step has to read and to compute, whatever program runs it.

D model width, H query heads, G key/value heads, K head width, V vocabulary.
"""

from dataclasses import dataclass

from cl_llama.models.memory import weight_bytes
from cl_llama.models.model_config import ModelConfig


@dataclass(frozen=True)
class StepCost:
    """Bytes that a step cannot help reading from memory, and its floating-point operations."""

    nbytes: float
    flops: float

    def seconds(self, bytes_per_s: float, flops_per_s: float) -> float:
        """The least time of a step on a device with these limits."""
        return max(self.nbytes / bytes_per_s, self.flops / flops_per_s)

    def bound_by(self, bytes_per_s: float, flops_per_s: float) -> str:
        """Which limit that is: "bandwidth" or "fma"."""
        is_memory = self.nbytes / bytes_per_s >= self.flops / flops_per_s
        return "bandwidth" if is_memory else "fma"


def decode_cost(config: ModelConfig, batch: int, depth: float) -> StepCost:
    """A step that adds one token to each of `batch` sequences with `depth` tokens before it.

    The weights are read once for all of them, each sequence's cache for itself.
    """
    visible = sum(_visible(window, depth) for window in config.windows)
    cache = batch * visible * 2 * 2 * config.n_kv_heads * config.head_dim
    return StepCost(
        _read_weight_bytes(config) + cache,
        batch * (2 * (_layer_weights(config) + _output_weights(config)))
        + batch * visible * 4 * config.n_heads * config.head_dim,
    )


def prefill_cost(config: ModelConfig, tokens: int, depth: int) -> StepCost:
    """The pass of a prompt's `tokens` after `depth` earlier ones; only the last one has logits."""
    visible = sum(_visible(window, depth + i) for window in config.windows for i in range(tokens))
    cached = sum(_visible(window, depth + tokens - 1) for window in config.windows)
    return StepCost(
        _read_weight_bytes(config) + cached * 2 * 2 * config.n_kv_heads * config.head_dim,
        2 * (tokens * _layer_weights(config) + _output_weights(config))
        + visible * 4 * config.n_heads * config.head_dim,
    )


def _visible(window: int | None, depth: float) -> float:
    """Positions that a token with `depth` ones before it attends to in a layer."""
    return depth + 1 if window is None else min(depth + 1, window)


def _read_weight_bytes(config: ModelConfig) -> int:
    """All weights but the tables of embeddings, of which a step reads a few rows."""
    tables = 0 if config.tied_embeddings else 2 * _output_weights(config)
    if config.rope is None:
        tables += 2 * config.max_seq_len * config.d_model
    return weight_bytes(config) - tables


def _layer_weights(config: ModelConfig) -> int:
    D, q, kv = (
        config.d_model,
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    )
    return config.n_layers * (D * (2 * q + 2 * kv) + (config.hidden_matrices + 1) * D * config.d_ff)


def _output_weights(config: ModelConfig) -> int:
    return config.vocab_size * config.d_model
