"""What a step has to read and to compute, whatever program runs it.

D model width, H query heads, G key/value heads, K head width, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cl_llama import ops
from cl_llama.checkpoints.tensor import stored_bytes
from cl_llama.models.gpt2_weights import Gpt2Tensors
from cl_llama.models.memory import weight_bytes
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.quantization import saved_bytes
from cl_llama.models.weights import ModelTensors


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


@dataclass(frozen=True)
class ModelCosts:
    """The steps of a model whose weights and cache are held in some formats."""

    config: ModelConfig
    weight_bytes: int
    """Of all weights but the tables of embeddings, of which a step reads a few rows."""
    kv_type: ops.KVType = "f16"

    def decode(self, batch: int, depth: float) -> StepCost:
        """A step that adds one token to each of `batch` sequences with `depth` tokens before it.

        The weights are read once for all of them, each sequence's cache for itself.
        """
        config = self.config
        visible = sum(_visible(window, depth) for window in config.windows)
        return StepCost(
            self.weight_bytes + batch * visible * self._position_bytes,
            batch * (2 * (_layer_weights(config) + _output_weights(config)))
            + batch * visible * 4 * config.n_heads * config.head_dim,
        )

    def prefill(self, tokens: int, depth: int) -> StepCost:
        """The pass of a prompt's `tokens` after `depth` others; only the last one has logits."""
        config = self.config
        visible = sum(
            _visible(window, depth + i) for window in config.windows for i in range(tokens)
        )
        cached = sum(_visible(window, depth + tokens - 1) for window in config.windows)
        return StepCost(
            self.weight_bytes + cached * self._position_bytes,
            2 * (tokens * _layer_weights(config) + _output_weights(config))
            + visible * 4 * config.n_heads * config.head_dim,
        )

    @property
    def _position_bytes(self) -> float:
        """A layer's key and value of a position."""
        config = self.config
        return 2 * ops.cache_bytes(config.n_kv_heads, config.head_dim, self.kv_type) / ops.BLOCK


def model_costs(
    config: ModelConfig,
    tensors: ModelTensors,
    formats: Mapping[str, str],
    kv_type: ops.KVType = "f16",
) -> ModelCosts:
    """The costs of a model whose matrices are in `formats`, by the tensors' names."""
    matrices = {tensor.name: tensor for tensor in tensors.matrices()}
    tables = [] if tensors.output is tensors.embedding else [tensors.embedding]
    if isinstance(tensors, Gpt2Tensors):
        tables.append(tensors.positions)
    unread = sum(stored_bytes(formats[t.name], math.prod(t.shape)) for t in tables)
    read = weight_bytes(config) - saved_bytes(formats, matrices) - unread
    return ModelCosts(config, read, kv_type)


def _visible(window: int | None, depth: float) -> float:
    """Positions that a token with `depth` ones before it attends to in a layer."""
    return depth + 1 if window is None else min(depth + 1, window)


def _layer_weights(config: ModelConfig) -> int:
    D, q, kv = (
        config.d_model,
        config.n_heads * config.head_dim,
        config.n_kv_heads * config.head_dim,
    )
    return config.n_layers * (D * (2 * q + 2 * kv) + (config.hidden_matrices + 1) * D * config.d_ff)


def _output_weights(config: ModelConfig) -> int:
    return config.vocab_size * config.d_model
