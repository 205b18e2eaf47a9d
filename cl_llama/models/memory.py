"""Plans a model's memory before anything is uploaded: weights, cache and scratch space."""

from collections.abc import Mapping
from dataclasses import dataclass

from cl_llama import ops
from cl_llama.blocks import FORMATS
from cl_llama.checkpoints import HostTensor
from cl_llama.errors import DeviceMemoryError, RequestError
from cl_llama.models.batch import LOGITS_ROWS, STEP_TOKENS
from cl_llama.models.model_config import ModelConfig
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.host_memory import available_host_memory_bytes
from cl_llama.opencl.runtime import Family, Runtime, family_of

_SHARE = 0.95
"""Of the memory there is, what a model may take; drivers and the system need some, too."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a model takes of a device, in bytes, and the positions its cache holds, in what type."""

    weight_bytes: int
    scratch_bytes: int
    cache_bytes_per_block: int
    num_blocks: int
    kv_type: ops.KVType = "f16"
    text_blocks: int | None = None
    """Blocks that one sequence takes at most; None: all."""

    @property
    def text_tokens(self) -> int:
        """Positions of a sequence, at most."""
        return min(self.text_blocks or self.num_blocks, self.num_blocks) * ops.BLOCK

    @property
    def cache_bytes(self) -> int:
        """Keys and values of all layers."""
        return self.num_blocks * self.cache_bytes_per_block

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.scratch_bytes + self.cache_bytes


def plan_memory(
    config: ModelConfig,
    device: DeviceInfo,
    max_seq_len: int | None,
    kv_type: ops.KVType = "f16",
    saved_bytes: int = 0,
    blocks_scratch_bytes: int = 0,
    reserved_bytes: int = 0,
    cache_tokens: int | None = None,
) -> MemoryPlan:
    """How much of the device a model takes with a cache for one sequence of `max_seq_len`.

    None is the model's own length, shortened to what fits. cache_tokens: positions that all
    sequences share, if that is more; shortened to what fits, too. kv_type: what the cache holds.
    saved_bytes: what the matrices take less than in f16. blocks_scratch_bytes: what products with
    those in blocks take of scratch space beside it. reserved_bytes: what another model will take.

    Raises:
        DeviceMemoryError: it does not fit; says how much is missing and which length would fit.
        RequestError: `max_seq_len` is below 1.
    """
    if max_seq_len is not None and max_seq_len < 1:
        raise RequestError(f"max_seq_len must be at least 1, got {max_seq_len}")
    weights = weight_bytes(config) - saved_bytes
    scratch = scratch_bytes(config, device.compute_units if family_of(device) == "cpu" else 0)
    scratch += blocks_scratch_bytes
    layer_block = ops.cache_bytes(config.n_kv_heads, config.head_dim, kv_type)
    block_bytes = 2 * config.n_layers * layer_block
    available = device.global_mem_bytes
    if device.is_cpu:
        available = min(available, available_host_memory_bytes() or available)
    available = max(0, int(available * _SHARE) - reserved_bytes)
    fitting = min(
        max(0, available - weights - scratch) // block_bytes,
        device.max_alloc_bytes // layer_block,
    )
    wanted = -(-(max_seq_len or config.max_seq_len) // ops.BLOCK)
    if fitting < 1 or (max_seq_len is not None and wanted > fitting):
        needed = weights + scratch + wanted * block_bytes
        if fitting >= 1:
            advice = f"--max-seq-len {fitting * ops.BLOCK} would fit"
        else:
            advice = "no context length would fit; choose another device or a smaller model"
        beside = f" beside the draft model's {_gib(reserved_bytes)}" if reserved_bytes else ""
        raise DeviceMemoryError(
            f"{device.label}: the model needs {_gib(needed)} (weights {_gib(weights)}, cache for "
            f"{wanted * ops.BLOCK} tokens {_gib(wanted * block_bytes)}, scratch {_gib(scratch)}), "
            f"{_gib(available)} are available{beside}, {_gib(max(0, needed - available))} are "
            "missing; "
            f"{advice}"
        )
    text_blocks = min(wanted, fitting)
    blocks = min(max(wanted, -(-(cache_tokens or 0) // ops.BLOCK)), fitting)
    return MemoryPlan(weights, scratch, block_bytes, blocks, kv_type, text_blocks)


def weight_bytes(config: ModelConfig) -> int:
    """Bytes of the weights on the device: matrices f16, norms and biases f32."""
    D, F, V = config.d_model, config.d_ff, config.vocab_size
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    up = config.hidden_matrices
    matrices = config.n_layers * (D * (2 * q + 2 * kv) + (up + 1) * D * F)
    matrices += V * D * (1 if config.tied_embeddings else 2)
    vectors = config.n_layers * 2 * D * (config.norms_before + config.norms_after) + D
    if config.architecture == "gpt2":
        matrices += config.max_seq_len * D
        vectors *= 2  # norms have biases
    vectors += config.n_layers * (
        config.qkv_bias * (q + 2 * kv)
        + config.o_bias * D
        + config.mlp_bias * (up * F + D)
        + config.qk_norm * ((q + kv) if config.qk_norm_whole else 2 * config.head_dim)
    )
    return matrices * 2 + vectors * 4


def scratch_bytes(config: ModelConfig, compute_units: int) -> int:
    """Bytes of activations for a step of `STEP_TOKENS` tokens; compute_units: 0 but for CPUs."""
    D, F = config.d_model, config.d_ff
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    activations = STEP_TOKENS * ((2 + config.norms_after) * D + 2 * q + 2 * kv + 2 * F)
    logits = LOGITS_ROWS * config.vocab_size
    products = ops.matmul_scratch_bytes(compute_units, STEP_TOKENS, max(D, F, q), F)
    return 4 * (activations + logits) + products


def blocks_scratch_bytes(
    formats: Mapping[str, str],
    matrices: Mapping[str, HostTensor],
    runtime: Runtime,
    family: Family | None,
    precision: ops.Precision | None,
) -> int:
    """What a step takes of scratch space because of matrices in blocks; precision None: "fast"."""
    shapes = [matrix.shape for name, matrix in matrices.items() if formats[name] in FORMATS]
    return ops.blocks_scratch_bytes(
        runtime, family or runtime.family, precision or "fast", STEP_TOKENS, shapes
    )


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB"
