"""Which tensor of a checkpoint plays which part in a GPT-2.

D model width, F feed-forward width, V vocabulary, P positions. Queries', keys' and values' matrices
are one in files. Hugging Face's Conv1D layers hold theirs [in, out], GGUF has them transposed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.checkpoints.tensor_views import row_range, stacked, transposed
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.tensor_names import check_names

# part -> name; "{i}" is the layer.
_TOP = {
    "embedding": "wte.weight",
    "positions": "wpe.weight",
    "final_norm": "ln_f.weight",
    "final_norm_bias": "ln_f.bias",
}
_LAYER = {
    "attn_norm": "h.{i}.ln_1.weight",
    "attn_norm_bias": "h.{i}.ln_1.bias",
    "qkv": "h.{i}.attn.c_attn.weight",
    "qkv_bias": "h.{i}.attn.c_attn.bias",
    "o": "h.{i}.attn.c_proj.weight",
    "o_bias": "h.{i}.attn.c_proj.bias",
    "ffn_norm": "h.{i}.ln_2.weight",
    "ffn_norm_bias": "h.{i}.ln_2.bias",
    "up": "h.{i}.mlp.c_fc.weight",
    "up_bias": "h.{i}.mlp.c_fc.bias",
    "down": "h.{i}.mlp.c_proj.weight",
    "down_bias": "h.{i}.mlp.c_proj.bias",
}
_GGUF_TOP = {
    "embedding": "token_embd.weight",
    "positions": "position_embd.weight",
    "final_norm": "output_norm.weight",
    "final_norm_bias": "output_norm.bias",
}
_GGUF_LAYER = {
    "attn_norm": "blk.{i}.attn_norm.weight",
    "attn_norm_bias": "blk.{i}.attn_norm.bias",
    "qkv": "blk.{i}.attn_qkv.weight",
    "qkv_bias": "blk.{i}.attn_qkv.bias",
    "o": "blk.{i}.attn_output.weight",
    "o_bias": "blk.{i}.attn_output.bias",
    "ffn_norm": "blk.{i}.ffn_norm.weight",
    "ffn_norm_bias": "blk.{i}.ffn_norm.bias",
    "up": "blk.{i}.ffn_up.weight",
    "up_bias": "blk.{i}.ffn_up.bias",
    "down": "blk.{i}.ffn_down.weight",
    "down_bias": "blk.{i}.ffn_down.bias",
}
_PREFIX = "transformer."
"""Of all names but the output matrix's, in files of the whole language model."""
_OUTPUT, _GGUF_OUTPUT = "lm_head.weight", "output.weight"
# The causal mask, which older files carry.
_MASK = re.compile(r"(^|\.)attn\.(masked_)?bias$")


@dataclass(frozen=True)
class Gpt2LayerTensors:
    """One layer's tensors; matrices are [out, in]."""

    attn_norm: HostTensor
    """[D]"""
    attn_norm_bias: HostTensor
    """[D]"""
    q: HostTensor
    """[D, D]"""
    k: HostTensor
    """[D, D]"""
    v: HostTensor
    """[D, D]"""
    q_bias: HostTensor
    """[D]"""
    k_bias: HostTensor
    """[D]"""
    v_bias: HostTensor
    """[D]"""
    o: HostTensor
    """[D, D]"""
    o_bias: HostTensor
    """[D]"""
    ffn_norm: HostTensor
    """[D]"""
    ffn_norm_bias: HostTensor
    """[D]"""
    up: HostTensor
    """[F, D]"""
    up_bias: HostTensor
    """[F]"""
    down: HostTensor
    """[D, F]"""
    down_bias: HostTensor
    """[D]"""


@dataclass(frozen=True)
class Gpt2Tensors:
    """All tensors of a model."""

    embedding: HostTensor
    """[V, D]"""
    positions: HostTensor
    """[P, D]"""
    layers: tuple[Gpt2LayerTensors, ...]
    final_norm: HostTensor
    """[D]"""
    final_norm_bias: HostTensor
    """[D]"""
    output: HostTensor
    """[V, D]; the same object as `embedding` where they are tied."""

    def with_layers(self, numbers: Iterable[int]) -> Self:
        """Only these layers, which stand for all."""
        return replace(self, layers=tuple(self.layers[i] for i in numbers))

    def matrices(self) -> Iterator[HostTensor]:
        """Every matrix [out, in]; tied ones once."""
        yield self.embedding
        yield self.positions
        for layer in self.layers:
            yield from (layer.q, layer.k, layer.v, layer.o, layer.up, layer.down)
        if self.output is not self.embedding:
            yield self.output


def named_gpt2_parts(tensors: Gpt2Tensors) -> Iterator[tuple[str, str, HostTensor]]:
    """Each tensor with its part and its name in GGUF's files; a tied output is left out."""
    for part, name in _GGUF_TOP.items():
        yield part, name, getattr(tensors, part)
    if tensors.output is not tensors.embedding:
        yield "output", _GGUF_OUTPUT, tensors.output
    for i, layer in enumerate(tensors.layers):
        fused = {
            "qkv": stacked((layer.q, layer.k, layer.v), "qkv"),
            "qkv_bias": stacked((layer.q_bias, layer.k_bias, layer.v_bias), "qkv"),
        }
        for part, name in _GGUF_LAYER.items():
            yield part, name.format(i=i), fused.get(part) or getattr(layer, part)


def map_gpt2_tensors(config: ModelConfig, checkpoint: Checkpoint) -> Gpt2Tensors:
    """Give every tensor its part; raises CheckpointError as `map_tensors` does.

    Masks and the copy of a tied output matrix are left over without harm.
    """
    is_gguf = checkpoint.format == "gguf"
    top_names, layer_names = (_GGUF_TOP, _GGUF_LAYER) if is_gguf else (_TOP, _LAYER)
    output = _GGUF_OUTPUT if is_gguf else _OUTPUT
    prefix = _PREFIX if _PREFIX + top_names["embedding"] in checkpoint.tensors else ""
    D, F, V, P = config.d_model, config.d_ff, config.vocab_size, config.max_seq_len
    matrices = {"qkv": (3 * D, D), "o": (D, D), "up": (F, D), "down": (D, F)}
    vectors = {"qkv_bias": 3 * D, "up_bias": F}
    top = {part: prefix + name for part, name in top_names.items()}
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(top.values(), (D,))
    shapes |= {top["embedding"]: (V, D), top["positions"]: (P, D)}
    if not config.tied_embeddings:
        shapes[output] = (V, D)
    for i in range(config.n_layers):
        for part, name in layer_names.items():
            shape: tuple[int, ...] = matrices.get(part) or (vectors.get(part, D),)
            shapes[prefix + name.format(i=i)] = shape if is_gguf else shape[::-1]
    check_names(
        checkpoint,
        checkpoint.tensors,
        shapes,
        lambda name: bool(_MASK.search(name)) or (config.tied_embeddings and name == output),
    )

    def layer(i: int) -> Gpt2LayerTensors:
        tensors = {
            part: checkpoint.tensors[prefix + name.format(i=i)]
            for part, name in layer_names.items()
        }
        for part in () if is_gguf else matrices:
            tensors[part] = transposed(tensors[part])
        for part in ("qkv", "qkv_bias"):
            whole = tensors.pop(part)
            for j, one in enumerate("qkv"):
                tensors[part.replace("qkv", one)] = row_range(whole, j * D, D, one)
        return Gpt2LayerTensors(**tensors)

    found = {part: checkpoint.tensors[name] for part, name in top.items()}
    return Gpt2Tensors(
        layers=tuple(layer(i) for i in range(config.n_layers)),
        output=found["embedding"] if config.tied_embeddings else checkpoint.tensors[output],
        **found,
    )
