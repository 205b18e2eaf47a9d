"""Which tensor of a checkpoint plays which part in the model, with shapes checked.

Hugging Face's, GGUF's and Meta's names are known. D model width, H query heads, G key/value heads,
K head width, F feed-forward width, V vocabulary.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal, Self, TypeAlias

from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.checkpoints.adjusted import adjusted
from cl_llama.checkpoints.tensor_views import row_range, stacked
from cl_llama.models.gpt2_weights import Gpt2Tensors, map_gpt2_tensors
from cl_llama.models.language_part import language_tensors
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.tensor_names import check_names

# part -> name; "{i}" is the layer.
_HF_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "output": "lm_head.weight",
    "attn_norm": "model.layers.{i}.input_layernorm.weight",
    "q": "model.layers.{i}.self_attn.q_proj.weight",
    "k": "model.layers.{i}.self_attn.k_proj.weight",
    "v": "model.layers.{i}.self_attn.v_proj.weight",
    "o": "model.layers.{i}.self_attn.o_proj.weight",
    "q_bias": "model.layers.{i}.self_attn.q_proj.bias",
    "k_bias": "model.layers.{i}.self_attn.k_proj.bias",
    "v_bias": "model.layers.{i}.self_attn.v_proj.bias",
    "o_bias": "model.layers.{i}.self_attn.o_proj.bias",
    "q_norm": "model.layers.{i}.self_attn.q_norm.weight",
    "k_norm": "model.layers.{i}.self_attn.k_norm.weight",
    "ffn_norm": "model.layers.{i}.post_attention_layernorm.weight",
    "attn_norm_after": "model.layers.{i}.post_attention_layernorm.weight",
    "ffn_norm_after": "model.layers.{i}.post_feedforward_layernorm.weight",
    "gate": "model.layers.{i}.mlp.gate_proj.weight",
    "up": "model.layers.{i}.mlp.up_proj.weight",
    "down": "model.layers.{i}.mlp.down_proj.weight",
    "gate_bias": "model.layers.{i}.mlp.gate_proj.bias",
    "up_bias": "model.layers.{i}.mlp.up_proj.bias",
    "down_bias": "model.layers.{i}.mlp.down_proj.bias",
    "qkv": "model.layers.{i}.self_attn.qkv_proj.weight",
    "gate_up": "model.layers.{i}.mlp.gate_up_proj.weight",
}
# Parts that one tensor of Phi-3 holds, one above the other.
_FUSED_PARTS = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}
_META_NAMES = {
    "embedding": "tok_embeddings.weight",
    "final_norm": "norm.weight",
    "output": "output.weight",
    "attn_norm": "layers.{i}.attention_norm.weight",
    "q": "layers.{i}.attention.wq.weight",
    "k": "layers.{i}.attention.wk.weight",
    "v": "layers.{i}.attention.wv.weight",
    "o": "layers.{i}.attention.wo.weight",
    "ffn_norm": "layers.{i}.ffn_norm.weight",
    "gate": "layers.{i}.feed_forward.w1.weight",
    "up": "layers.{i}.feed_forward.w3.weight",
    "down": "layers.{i}.feed_forward.w2.weight",
}
_GGUF_NAMES = {
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "output": "output.weight",
    "attn_norm": "blk.{i}.attn_norm.weight",
    "q": "blk.{i}.attn_q.weight",
    "k": "blk.{i}.attn_k.weight",
    "v": "blk.{i}.attn_v.weight",
    "o": "blk.{i}.attn_output.weight",
    "q_bias": "blk.{i}.attn_q.bias",
    "k_bias": "blk.{i}.attn_k.bias",
    "v_bias": "blk.{i}.attn_v.bias",
    "o_bias": "blk.{i}.attn_output.bias",
    "q_norm": "blk.{i}.attn_q_norm.weight",
    "k_norm": "blk.{i}.attn_k_norm.weight",
    "ffn_norm": "blk.{i}.ffn_norm.weight",
    "attn_norm_after": "blk.{i}.post_attention_norm.weight",
    "ffn_norm_after": "blk.{i}.post_ffw_norm.weight",
    "gate": "blk.{i}.ffn_gate.weight",
    "up": "blk.{i}.ffn_up.weight",
    "down": "blk.{i}.ffn_down.weight",
    "gate_bias": "blk.{i}.ffn_gate.bias",
    "up_bias": "blk.{i}.ffn_up.bias",
    "down_bias": "blk.{i}.ffn_down.bias",
    "qkv": "blk.{i}.attn_qkv.weight",
    "gate_up": "blk.{i}.ffn_up.weight",
}
# Where there is one before the feed-forward and one after attention.
_HF_NORM_BEFORE = {"ffn_norm": "model.layers.{i}.pre_feedforward_layernorm.weight"}
_NAMES = {"hf": _HF_NAMES, "gguf": _GGUF_NAMES, "meta": _META_NAMES, "llama2c": _META_NAMES}
# Tables that some files carry and that the model computes for itself.
_ROTARY_TABLE = re.compile(
    r"(^|\.)(rope\.freqs|rotary_emb\.\w+|freqs_\w+)$|^rope_(freqs|factors_\w+)\.weight$"
)


@dataclass(frozen=True)
class LayerTensors:
    """One layer's tensors; matrices are [out, in]. None: the model has no such tensor."""

    attn_norm: HostTensor | None
    """[D]"""
    q: HostTensor
    """[H * K, D]"""
    k: HostTensor
    """[G * K, D]"""
    v: HostTensor
    """[G * K, D]"""
    o: HostTensor
    """[D, H * K]"""
    ffn_norm: HostTensor | None
    """[D]"""
    gate: HostTensor
    """[F, D]"""
    up: HostTensor
    """[F, D]"""
    down: HostTensor
    """[D, F]"""
    q_bias: HostTensor | None = None
    """[H * K]"""
    k_bias: HostTensor | None = None
    """[G * K]"""
    v_bias: HostTensor | None = None
    """[G * K]"""
    o_bias: HostTensor | None = None
    """[D]"""
    gate_bias: HostTensor | None = None
    """[F]"""
    up_bias: HostTensor | None = None
    """[F]"""
    down_bias: HostTensor | None = None
    """[D]"""
    q_norm: HostTensor | None = None
    """[K], or [H * K]"""
    k_norm: HostTensor | None = None
    """[K], or [G * K]"""
    attn_norm_after: HostTensor | None = None
    """[D]"""
    ffn_norm_after: HostTensor | None = None
    """[D]"""


@dataclass(frozen=True)
class LlamaTensors:
    """All tensors of a model."""

    embedding: HostTensor
    """[V, D]"""
    layers: tuple[LayerTensors, ...]
    final_norm: HostTensor
    """[D]; times the scale of the logits."""
    output: HostTensor
    """[V, D]; the same object as `embedding` where they are tied."""

    def with_layers(self, numbers: Iterable[int]) -> Self:
        """Only these layers, which stand for all."""
        return replace(self, layers=tuple(self.layers[i] for i in numbers))

    def matrices(self) -> Iterator[HostTensor]:
        """Every matrix [out, in]; tied ones once."""
        yield self.embedding
        for layer in self.layers:
            yield from (layer.q, layer.k, layer.v, layer.o, layer.gate, layer.up, layer.down)
        if self.output is not self.embedding:
            yield self.output


ModelTensors: TypeAlias = LlamaTensors | Gpt2Tensors


def named_parts(
    config: ModelConfig, tensors: LlamaTensors, form: Literal["hf", "gguf"]
) -> Iterator[tuple[str, str, HostTensor]]:
    """Each tensor with its part and its name in a format's files; a tied output is left out."""
    names, fused = _names(config, form), _fused_parts(config)
    for part in ("embedding", "final_norm", "output"):
        if part != "output" or tensors.output is not tensors.embedding:
            yield part, names[part], getattr(tensors, part)
    for i, layer in enumerate(tensors.layers):
        held = {field.name: getattr(layer, field.name) for field in fields(layer)}
        for whole, parts in fused.items():
            held[whole] = stacked([held.pop(part) for part in parts], whole)
        for part, tensor in held.items():
            if tensor is not None:
                yield part, names[part].format(i=i), tensor


def map_tensors(config: ModelConfig, checkpoint: Checkpoint) -> ModelTensors:
    """Give every tensor its part.

    Raises CheckpointError with one line that names tensors that are missing, left over or of
    another shape than the configuration says. Rotary tables and the copy of a tied output matrix
    are left over without harm.
    """
    if config.architecture == "gpt2":
        return map_gpt2_tensors(config, checkpoint)
    names = _names(config, checkpoint.format)
    held = language_tensors(checkpoint)
    fused = _fused_parts(config)
    top_shapes, part_shapes = _expected_shapes(config)
    layer_shapes = dict(part_shapes)
    for whole, parts in fused.items():
        rows = sum(layer_shapes.pop(part)[0] for part in parts)
        layer_shapes[whole] = (rows, config.d_model)
    expected = {names[part]: shape for part, shape in top_shapes.items()}
    for i in range(config.n_layers):
        expected |= {names[part].format(i=i): shape for part, shape in layer_shapes.items()}
    check_names(
        checkpoint,
        held,
        expected,
        lambda name: (
            bool(_ROTARY_TABLE.search(name)) or (config.tied_embeddings and name == names["output"])
        ),
    )

    def tensors(shapes: dict[str, tuple[int, ...]], i: int = 0) -> dict[str, HostTensor]:
        found = {part: held[names[part].format(i=i)] for part in shapes}
        return {
            part: adjusted(tensor, shift=config.norm_shift) if "norm" in part else tensor
            for part, tensor in found.items()
        }

    def layer(i: int) -> LayerTensors:
        found = tensors(layer_shapes, i)
        for whole, parts in fused.items():
            tensor, first = found.pop(whole), 0
            for part in parts:
                rows = part_shapes[part][0]
                found[part] = row_range(tensor, first, rows, part)
                first += rows
        attn_norm, ffn_norm = found.pop("attn_norm", None), found.pop("ffn_norm", None)
        return LayerTensors(attn_norm=attn_norm, ffn_norm=ffn_norm, **found)

    top = tensors(top_shapes)
    return LlamaTensors(
        embedding=top["embedding"],
        layers=tuple(layer(i) for i in range(config.n_layers)),
        final_norm=adjusted(top["final_norm"], scale=config.logits_scale),
        output=top["embedding" if config.tied_embeddings else "output"],
    )


def _names(config: ModelConfig, form: str) -> dict[str, str]:
    """Each part's name in a format's files."""
    both = form == "hf" and config.norms_before and config.norms_after
    return _NAMES[form] | (_HF_NORM_BEFORE if both else {})


def _fused_parts(config: ModelConfig) -> dict[str, tuple[str, ...]]:
    return _FUSED_PARTS if config.architecture == "phi3" else {}


def _expected_shapes(
    config: ModelConfig,
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Shapes of the parts outside the layers, and of those of each layer."""
    D, F, V, K = config.d_model, config.d_ff, config.vocab_size, config.head_dim
    HK, GK = config.n_heads * K, config.n_kv_heads * K
    top: dict[str, tuple[int, ...]] = {"embedding": (V, D), "final_norm": (D,)}
    if not config.tied_embeddings:
        top["output"] = (V, D)
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (D,),
        "q": (HK, D),
        "k": (GK, D),
        "v": (GK, D),
        "o": (D, HK),
        "ffn_norm": (D,),
        "gate": (F, D),
        "up": (F, D),
        "down": (D, F),
    }
    if config.qkv_bias:
        layer |= {"q_bias": (HK,), "k_bias": (GK,), "v_bias": (GK,)}
    if config.o_bias:
        layer |= {"o_bias": (D,)}
    if config.mlp_bias:
        layer |= {"gate_bias": (F,), "up_bias": (F,), "down_bias": (D,)}
    if config.qk_norm:
        whole = config.qk_norm_whole
        layer |= {"q_norm": (HK if whole else K,), "k_norm": (GK if whole else K,)}
    for part in ("attn_norm", "ffn_norm"):
        if config.norms_after:
            layer[f"{part}_after"] = (D,)
        if not config.norms_before:
            del layer[part]
    return top, layer
