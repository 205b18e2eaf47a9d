"""Brings a checkpoint's tensors onto a device."""

from collections.abc import Callable

from cl_llama import ops
from cl_llama.checkpoints import HostTensor
from cl_llama.models.llama import LayerWeights, Llama, LlamaWeights
from cl_llama.models.mapping import MappedMatrices
from cl_llama.models.memory import plan_memory
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import LayerTensors, LlamaTensors, all_matrices
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime


def load_model(
    config: ModelConfig,
    tensors: LlamaTensors,
    runtime: Runtime,
    *,
    max_seq_len: int | None = None,
    on_progress: Callable[[float], None] | None = None,
    family: Family | None = None,
    precision: ops.Precision = "high",
    use_mmap: bool = True,
) -> Llama:
    """Plan the memory, upload the weights once or map them, allocate the cache.

    Args:
        config: the model's hyperparameters.
        tensors: its weights on the host; each is read once and its pages let go, or stays where
            it is: see `use_mmap`.
        runtime: the device.
        max_seq_len: positions that the cache holds; None is the model's own, cut to what fits.
        on_progress: called with the share of the weights that is on the device, 0 to 1.
        family: kernels to run; None is the device's own.
        precision: how exact products with weights are.
        use_mmap: CPU devices compute with float16 matrices where their files hold them; the files
            must keep their length as long as the model lives.

    Raises:
        DeviceMemoryError: it does not fit; nothing was uploaded.
        CheckpointError: a value that f16 cannot hold; a file that cannot be read.
    """
    memory = plan_memory(config, runtime.device, max_seq_len)
    loaded = 0

    def on_bytes(count: int) -> None:
        nonlocal loaded
        loaded += count
        if on_progress is not None:
            on_progress(min(1.0, loaded / memory.weight_bytes))

    in_place = use_mmap and runtime.computes_in_host_memory
    mapped = MappedMatrices(runtime, all_matrices(tensors) if in_place else ())

    def matrix(tensor: HostTensor) -> ops.Weight:
        if tensor.name in mapped.weights:
            return mapped.weights[tensor.name]
        return ops.upload_matrix(runtime, tensor, on_bytes)

    def vector(tensor: HostTensor) -> DeviceArray:
        return ops.upload_vector(runtime, tensor)

    def optional(tensor: HostTensor | None) -> DeviceArray | None:
        return None if tensor is None else vector(tensor)

    def layer(t: LayerTensors) -> LayerWeights:
        return LayerWeights(
            attn_norm=vector(t.attn_norm),
            q=matrix(t.q),
            k=matrix(t.k),
            v=matrix(t.v),
            o=matrix(t.o),
            ffn_norm=vector(t.ffn_norm),
            feed_forward=ops.GatedNetwork(
                gate=matrix(t.gate),
                up=matrix(t.up),
                down=matrix(t.down),
                gate_bias=optional(t.gate_bias),
                up_bias=optional(t.up_bias),
                down_bias=optional(t.down_bias),
            ),
            q_bias=optional(t.q_bias),
            k_bias=optional(t.k_bias),
            v_bias=optional(t.v_bias),
            o_bias=optional(t.o_bias),
            q_norm=optional(t.q_norm),
            k_norm=optional(t.k_norm),
        )

    embedding = matrix(tensors.embedding)
    weights = LlamaWeights(
        embedding=embedding,
        layers=tuple(layer(t) for t in tensors.layers),
        final_norm=vector(tensors.final_norm),
        output=embedding if config.tied_embeddings else matrix(tensors.output),
    )
    mapped.populate(on_bytes)  # last: letting go of what was copied drops pages beside it
    if on_progress is not None:
        on_progress(1.0)
    return Llama(config, weights, runtime, memory, family, precision)
