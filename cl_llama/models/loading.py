"""Brings a checkpoint's tensors onto a device."""

from collections.abc import Callable
from dataclasses import replace

from cl_llama import ops
from cl_llama.checkpoints import HostTensor
from cl_llama.models.decoder import Decoder
from cl_llama.models.mapping import MappedMatrices
from cl_llama.models.memory import MemoryPlan, blocks_scratch_bytes, plan_memory
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.quantization import formats_on_device, saved_bytes
from cl_llama.models.rehearsal import assemble, kernels_of, make_decoder
from cl_llama.models.weights import ModelTensors
from cl_llama.opencl.prebuild import building_kernels
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime


def plan_model(
    config: ModelConfig,
    tensors: ModelTensors,
    runtime: Runtime,
    *,
    max_seq_len: int | None = None,
    family: Family | None = None,
    precision: ops.Precision | None = None,
    quantize: str | None = None,
    kv_type: ops.KVType = "f16",
    reserved_bytes: int = 0,
    cache_tokens: int | None = None,
) -> MemoryPlan:
    """What `load_model` takes of the device with these arguments.

    Raises:
        DeviceMemoryError: it does not fit.
    """
    matrices = {tensor.name: tensor for tensor in tensors.matrices()}
    formats = formats_on_device(tensors, matrices, quantize)
    return plan_memory(
        config,
        runtime.device,
        max_seq_len,
        kv_type,
        saved_bytes(formats, matrices),
        blocks_scratch_bytes(formats, matrices, runtime, family, precision),
        reserved_bytes,
        cache_tokens,
    )


def load_model(
    config: ModelConfig,
    tensors: ModelTensors,
    runtime: Runtime,
    *,
    max_seq_len: int | None = None,
    on_progress: Callable[[float], None] | None = None,
    family: Family | None = None,
    precision: ops.Precision | None = None,
    quantize: str | None = None,
    use_mmap: bool = True,
    kv_type: ops.KVType = "f16",
    guesses: int = 0,
    reserved_bytes: int = 0,
    cache_tokens: int | None = None,
    memory: MemoryPlan | None = None,
) -> Decoder:
    """Plan the memory, upload the weights once or map them, allocate the cache.

    The kernels that the model needs are built meanwhile, where they have not been before.

    Args:
        config: the model's hyperparameters.
        tensors: its weights on the host; each is read once and its pages let go, or stays where
            it is: see `use_mmap`.
        runtime: the device.
        max_seq_len: positions of a sequence; None is the model's own, cut to what fits.
        on_progress: called with the share of the weights that is on the device, 0 to 1.
        family: kernels to run; None is the device's own.
        precision: how exact products with weights are; None: "fast" with weights in blocks, else
            "high".
        quantize: one of QUANTIZATIONS, to bring float weights into blocks; blocks stay as they are.
        use_mmap: CPU devices compute with float16 matrices where their files hold them; the files
            must keep their length as long as the model lives.
        kv_type: what the cache holds.
        guesses: tokens that speculation runs beside a text's last one, at most.
        reserved_bytes: of the device's memory, what another model will take.
        cache_tokens: positions that the cache holds for all sequences, if more and as far as they
            fit.
        memory: `plan_model`'s plan, maybe of fewer blocks, instead of max_seq_len and kv_type.

    Raises:
        DeviceMemoryError: it does not fit; nothing was uploaded.
        CheckpointError: a value that f16 or the blocks cannot hold; a file that cannot be read.
    """
    matrices = {tensor.name: tensor for tensor in tensors.matrices()}
    formats = formats_on_device(tensors, matrices, quantize)
    if precision is None:
        precision = "high" if set(formats.values()) == {"f16"} else "fast"
    if memory is None:
        memory = plan_model(
            config,
            tensors,
            runtime,
            max_seq_len=max_seq_len,
            family=family,
            precision=precision,
            quantize=quantize,
            kv_type=kv_type,
            reserved_bytes=reserved_bytes,
            cache_tokens=cache_tokens,
        )
    kv_type = memory.kv_type
    if config.rope is not None:
        config = replace(config, rope=config.rope.for_length(memory.text_tokens))
    loaded = 0

    def on_bytes(count: int) -> None:
        nonlocal loaded
        loaded += count
        if on_progress is not None:
            on_progress(min(1.0, loaded / memory.weight_bytes))

    programs = kernels_of(config, tensors, runtime, family, precision, kv_type, formats, guesses)
    with building_kernels(runtime, programs):
        in_place = use_mmap and runtime.computes_in_host_memory
        plain = [tensor for name, tensor in matrices.items() if formats[name] == "f16"]
        mapped = MappedMatrices(runtime, plain if in_place else ())

        def matrix(tensor: HostTensor) -> ops.Weight:
            if tensor.name in mapped.weights:
                return mapped.weights[tensor.name]
            form = formats[tensor.name]
            blocks = None if form == "f16" else form
            return ops.upload_matrix(runtime, tensor, on_bytes, quantize=blocks, family=family)

        def vector(tensor: HostTensor) -> DeviceArray:
            return ops.upload_vector(runtime, tensor)

        weights = assemble(tensors, matrix, vector)
        mapped.populate(on_bytes)  # last: letting go of what was copied drops pages beside it
    if on_progress is not None:
        on_progress(1.0)
    return make_decoder(config, weights, runtime, memory, family, precision)
