"""Which kernels a model needs, found out by running it where nothing is computed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from cl_llama import ops
from cl_llama.blocks import FORMATS
from cl_llama.checkpoints import HostTensor
from cl_llama.models.batch import STEP_TOKENS, Batch, SequenceSlice
from cl_llama.models.decoder import Decoder
from cl_llama.models.gpt2 import Gpt2, Gpt2Weights, assemble_gpt2
from cl_llama.models.gpt2_weights import Gpt2Tensors
from cl_llama.models.llama import LayerWeights, Llama, LlamaWeights
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import LayerTensors, LlamaTensors, ModelTensors
from cl_llama.opencl.prebuild import Program
from cl_llama.opencl.rehearsal import Rehearsal
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.ops.block_layout import lanes_of
from cl_llama.ops.matmul_portable import default_reduction

_STEPS = (STEP_TOKENS, 64, 48, 32, 24, 16, 12, 8, 1)
"""Tokens of the steps that are rehearsed: a long prompt, shorter ones and batches, decoding."""


def assemble(
    tensors: ModelTensors,
    matrix: Callable[[HostTensor], ops.Weight],
    vector: Callable[[HostTensor], DeviceArray],
) -> LlamaWeights | Gpt2Weights:
    """A model's weights on a device, in the order in which they are needed.

    `matrix` and `vector` bring a tensor there; a tied output matrix comes once.
    """
    if isinstance(tensors, Gpt2Tensors):
        return assemble_gpt2(tensors, matrix, vector)
    return assemble_llama(tensors, matrix, vector)


def make_decoder(
    config: ModelConfig,
    weights: LlamaWeights | Gpt2Weights,
    runtime: Runtime,
    memory: MemoryPlan,
    family: Family | None,
    precision: ops.Precision,
) -> Decoder:
    """The model that these weights are one's."""
    if isinstance(weights, Gpt2Weights):
        return Gpt2(config, weights, runtime, memory, family, precision)
    return Llama(config, weights, runtime, memory, family, precision)


def assemble_llama(
    tensors: LlamaTensors,
    matrix: Callable[[HostTensor], ops.Weight],
    vector: Callable[[HostTensor], DeviceArray],
) -> LlamaWeights:
    """`assemble` of a Llama."""

    def optional(tensor: HostTensor | None) -> DeviceArray | None:
        return None if tensor is None else vector(tensor)

    def layer(t: LayerTensors) -> LayerWeights:
        return LayerWeights(
            attn_norm=optional(t.attn_norm),
            q=matrix(t.q),
            k=matrix(t.k),
            v=matrix(t.v),
            o=matrix(t.o),
            ffn_norm=optional(t.ffn_norm),
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
            attn_norm_after=optional(t.attn_norm_after),
            ffn_norm_after=optional(t.ffn_norm_after),
        )

    embedding = matrix(tensors.embedding)
    return LlamaWeights(
        embedding=embedding,
        layers=tuple(layer(t) for t in tensors.layers),
        final_norm=vector(tensors.final_norm),
        output=embedding if tensors.output is tensors.embedding else matrix(tensors.output),
    )


def kernels_of(
    config: ModelConfig,
    tensors: ModelTensors,
    runtime: Runtime,
    family: Family | None,
    precision: ops.Precision,
    kv_type: ops.KVType = "f16",
    formats: Mapping[str, str] | None = None,
    guesses: int = 0,
) -> list[Program]:
    """The programs that prompts, decoding and its usual choices of a token ask for.

    No tensor is read; of layers whose matrices have the same formats one stands for all. `formats`
    are the matrices' by the tensors' names; None: all are f16. guesses: tokens that speculation
    runs beside a text's last one, at most.
    """
    if (family or runtime.family) == "portable":
        default_reduction(runtime)  # looks at results, which a rehearsal has none of
    stage = Rehearsal(runtime)

    def matrix(tensor: HostTensor) -> ops.Weight:
        rows, columns = tensor.shape
        form = "f16" if formats is None else formats[tensor.name]
        stride = columns if form == "f16" else FORMATS[form].row_bytes(columns)
        segment = ops.Segment(stage.allocate(0), 0, stride, 0, rows)
        lanes = 1 if form == "f16" else lanes_of(family or runtime.family)
        return ops.Weight(stage, (segment,), rows, columns, form, lanes)

    def vector(tensor: HostTensor) -> DeviceArray:
        return stage.empty(tensor.shape, np.float32)

    layers = distinct_layers(tensors, formats)
    weights = assemble(tensors.with_layers(layers), matrix, vector)
    blocks = ops.ceil_div(STEP_TOKENS, ops.BLOCK)
    model = make_decoder(
        replace(config, n_layers=len(layers), windows=tuple(config.windows[i] for i in layers)),
        weights,
        stage,
        MemoryPlan(0, 0, 0, blocks, kv_type),
        family,
        precision,
    )
    table = np.arange(blocks, dtype=np.int32)
    prompts = [SequenceSlice(np.zeros(count, np.int32), 0, table) for count in _STEPS]
    guessed = range(2, guesses + 2)
    checks = [SequenceSlice(np.zeros(count, np.int32), 0, table, "all") for count in guessed]
    for tokens in (*prompts, *checks):
        logits = model.forward(Batch((tokens,)))
        logits.argmax()
        logits.top_k(min(ops.MAX_TOP_K, config.vocab_size))
    return list(stage.programs)


def distinct_layers(tensors: ModelTensors, formats: Mapping[str, str] | None) -> list[int]:
    """The first layer, and each whose matrices' formats no earlier one has, part by part."""
    found: dict[tuple[str | None, ...], int] = {}
    for i, layer in enumerate(tensors.layers):
        parts: Iterable[HostTensor | None] = vars(layer).values()
        names = [None if part is None else part.name for part in parts]
        key = tuple(None if formats is None or n is None else formats.get(n) for n in names)
        found.setdefault(key, i)
    return list(found.values())
