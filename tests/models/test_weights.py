"""Tensors find their parts; everything else is named in one line."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.errors import CheckpointError
from cl_llama.models.config import ModelConfig
from cl_llama.models.rope import RopeConfig
from cl_llama.models.weights import map_tensors

D, H, G, K, F, V, L = 24, 4, 2, 8, 40, 50, 3

PLAIN = ModelConfig(
    architecture="llama",
    vocab_size=V,
    d_model=D,
    n_layers=L,
    n_heads=H,
    n_kv_heads=G,
    head_dim=K,
    d_ff=F,
    norm_eps=1e-5,
    max_seq_len=64,
    rope=RopeConfig(10000.0, "half"),
    tied_embeddings=False,
    qkv_bias=False,
    o_bias=False,
    mlp_bias=False,
    qk_norm=False,
    windows=(None,) * L,
    bos_id=None,
    eos_ids=(),
)
EVERYTHING = replace(PLAIN, qkv_bias=True, o_bias=True, mlp_bias=True, qk_norm=True)


@dataclass(frozen=True)
class Shape(HostTensor):
    """A tensor without values."""

    def _read_rows(self, start, stop):
        raise AssertionError("mapping needs no values")

    def release(self):
        raise AssertionError("mapping needs no values")


def hf_shapes(everything=False):
    shapes = {
        "model.embed_tokens.weight": (V, D),
        "model.norm.weight": (D,),
        "lm_head.weight": (V, D),
    }
    for i in range(L):
        layer = {
            "input_layernorm.weight": (D,),
            "self_attn.q_proj.weight": (H * K, D),
            "self_attn.k_proj.weight": (G * K, D),
            "self_attn.v_proj.weight": (G * K, D),
            "self_attn.o_proj.weight": (D, H * K),
            "post_attention_layernorm.weight": (D,),
            "mlp.gate_proj.weight": (F, D),
            "mlp.up_proj.weight": (F, D),
            "mlp.down_proj.weight": (D, F),
        }
        if everything:
            layer |= {
                "self_attn.q_proj.bias": (H * K,),
                "self_attn.k_proj.bias": (G * K,),
                "self_attn.v_proj.bias": (G * K,),
                "self_attn.o_proj.bias": (D,),
                "self_attn.q_norm.weight": (K,),
                "self_attn.k_norm.weight": (K,),
                "mlp.gate_proj.bias": (F,),
                "mlp.up_proj.bias": (F,),
                "mlp.down_proj.bias": (D,),
            }
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    return shapes


def meta_shapes():
    shapes = {"tok_embeddings.weight": (V, D), "norm.weight": (D,), "output.weight": (V, D)}
    for i in range(L):
        layer = {
            "attention_norm.weight": (D,),
            "attention.wq.weight": (H * K, D),
            "attention.wk.weight": (G * K, D),
            "attention.wv.weight": (G * K, D),
            "attention.wo.weight": (D, H * K),
            "ffn_norm.weight": (D,),
            "feed_forward.w1.weight": (F, D),
            "feed_forward.w2.weight": (D, F),
            "feed_forward.w3.weight": (F, D),
        }
        shapes |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
    return shapes


def checkpoint(shapes, file_format="hf"):
    tensors = {name: Shape(name, shape, "f16") for name, shape in shapes.items()}
    return Checkpoint(Path("model"), file_format, {}, {}, tensors, None, ())


def test_hf_names():
    tensors = map_tensors(PLAIN, checkpoint(hf_shapes()))
    assert tensors.embedding.name == "model.embed_tokens.weight"
    assert tensors.final_norm.name == "model.norm.weight"
    assert tensors.output.name == "lm_head.weight"
    assert len(tensors.layers) == L
    last = tensors.layers[-1]
    assert last.attn_norm.name == "model.layers.2.input_layernorm.weight"
    assert last.ffn_norm.name == "model.layers.2.post_attention_layernorm.weight"
    assert (last.q.name, last.o.name) == (
        "model.layers.2.self_attn.q_proj.weight",
        "model.layers.2.self_attn.o_proj.weight",
    )
    assert last.down.name == "model.layers.2.mlp.down_proj.weight"
    assert last.q_bias is None and last.down_bias is None and last.k_norm is None


def test_hf_biases_and_norms():
    first = map_tensors(EVERYTHING, checkpoint(hf_shapes(everything=True))).layers[0]
    assert first.v_bias.name == "model.layers.0.self_attn.v_proj.bias"
    assert first.o_bias.name == "model.layers.0.self_attn.o_proj.bias"
    assert first.up_bias.name == "model.layers.0.mlp.up_proj.bias"
    assert first.q_norm.name == "model.layers.0.self_attn.q_norm.weight"


@pytest.mark.parametrize("file_format", ["meta", "llama2c"])
def test_meta_names(file_format):
    tensors = map_tensors(PLAIN, checkpoint(meta_shapes(), file_format))
    layer = tensors.layers[1]
    assert tensors.output.name == "output.weight"
    assert (layer.gate.name, layer.down.name, layer.up.name) == (
        "layers.1.feed_forward.w1.weight",
        "layers.1.feed_forward.w2.weight",
        "layers.1.feed_forward.w3.weight",
    )
    assert layer.o.name == "layers.1.attention.wo.weight"


@pytest.mark.parametrize("copied", [False, True])
def test_tied(copied):
    shapes = hf_shapes()
    if not copied:
        del shapes["lm_head.weight"]
    tensors = map_tensors(replace(PLAIN, tied_embeddings=True), checkpoint(shapes))
    assert tensors.output is tensors.embedding


@pytest.mark.parametrize(
    ("file_format", "name"),
    [
        ("hf", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("hf", "model.rotary_emb.inv_freq"),
        ("meta", "rope.freqs"),
        ("meta", "layers.0.attention.inner_attention.rope.freqs"),
        ("llama2c", "freqs_cos"),
    ],
)
def test_rotary_tables_are_ignored(file_format, name):
    shapes = hf_shapes() if file_format == "hf" else meta_shapes()
    map_tensors(PLAIN, checkpoint(shapes | {name: (4,)}, file_format))


def test_norms_after():
    """Olmo 2's second norm bears the name of the one that Llama has before its feed-forward."""
    shapes = hf_shapes()
    for i in range(L):
        layer = f"model.layers.{i}"
        shapes[f"{layer}.post_feedforward_layernorm.weight"] = (D,)
        del shapes[f"{layer}.input_layernorm.weight"]
        shapes[f"{layer}.self_attn.q_norm.weight"] = (H * K,)
        shapes[f"{layer}.self_attn.k_norm.weight"] = (G * K,)
    norms = {"norms_before": False, "norms_after": True}
    config = replace(PLAIN, **norms, qk_norm=True, qk_norm_whole=True)
    layer = map_tensors(config, checkpoint(shapes)).layers[2]
    assert layer.attn_norm is None and layer.ffn_norm is None
    assert layer.attn_norm_after.name == "model.layers.2.post_attention_layernorm.weight"
    assert layer.ffn_norm_after.name == "model.layers.2.post_feedforward_layernorm.weight"
    assert "q_norm.weight is [32] and not [8]" in refusal(
        replace(config, qk_norm_whole=False), shapes
    )


def test_four_norms_of_a_language_model():
    """Gemma 3's, in a file that has a vision tower, too; the tower is not read."""
    shapes = {}
    for name, shape in hf_shapes().items():
        before = name.replace("post_attention_layernorm", "pre_feedforward_layernorm")
        shapes["language_model." + before] = shape
    for i in range(L):
        layer = f"language_model.model.layers.{i}"
        shapes[f"{layer}.post_attention_layernorm.weight"] = (D,)
        shapes[f"{layer}.post_feedforward_layernorm.weight"] = (D,)
    newer = {
        name.replace("language_model.model.", "model.language_model."): shape
        for name, shape in shapes.items()
    }
    config = replace(PLAIN, norms_after=True, norm_shift=1.0)
    whole = {"architectures": ["Gemma3ForConditionalGeneration"]}
    for prefix, held in (("", shapes), ("model.", newer)):
        held[f"{prefix}vision_tower.vision_model.head.weight"] = (D, D)
        held[f"{prefix}multi_modal_projector.mm_input_projection_weight"] = (D, D)
        opened = replace(checkpoint(held), config=whole)
        layer = map_tensors(config, opened).layers[0]
        names = [n.name.removesuffix("_layernorm.weight") for n in (layer.ffn_norm, layer.o)]
        assert names[0].endswith("pre_feedforward") and names[1].endswith("o_proj.weight")
        assert layer.attn_norm_after.name.endswith("0.post_attention_layernorm.weight")
        assert layer.attn_norm.shift == 1.0 and "left over" in refusal(config, held)


def test_fused_projections():
    """Phi-3's: the rows of the parts are where those of the whole say."""
    shapes = hf_shapes()
    for i in range(L):
        layer = f"model.layers.{i}"
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            del shapes[f"{layer}.{part}.weight"]
        del shapes[f"{layer}.mlp.gate_proj.weight"], shapes[f"{layer}.mlp.up_proj.weight"]
        shapes[f"{layer}.self_attn.qkv_proj.weight"] = ((H + 2 * G) * K, D)
        shapes[f"{layer}.mlp.gate_up_proj.weight"] = (2 * F, D)
    config = replace(PLAIN, architecture="phi3")
    layer = map_tensors(config, checkpoint(shapes)).layers[1]
    parts = [layer.q, layer.k, layer.v]
    assert [part.first for part in parts] == [0, H * K, (H + G) * K]
    assert [part.shape for part in parts] == [(H * K, D), (G * K, D), (G * K, D)]
    assert {part.source.name for part in parts} == {"model.layers.1.self_attn.qkv_proj.weight"}
    assert (layer.gate.first, layer.up.first, layer.up.shape) == (0, F, (F, D))
    assert "15 missing: " in refusal(PLAIN, shapes)


def refusal(config, shapes, file_format="hf"):
    with pytest.raises(CheckpointError) as caught:
        map_tensors(config, checkpoint(shapes, file_format))
    message = str(caught.value)
    assert message.startswith("model: ") and "\n" not in message
    return message


def test_missing():
    shapes = hf_shapes()
    del shapes["model.layers.1.mlp.up_proj.weight"]
    assert "1 missing: model.layers.1.mlp.up_proj.weight;" in refusal(PLAIN, shapes)


def test_untied_output_is_required():
    shapes = hf_shapes()
    del shapes["lm_head.weight"]
    assert "1 missing: lm_head.weight" in refusal(PLAIN, shapes)


def test_many_missing_are_counted():
    message = refusal(EVERYTHING, hf_shapes())
    assert "27 missing: " in message and "..." in message and len(message) < 600


def test_left_over():
    message = refusal(PLAIN, hf_shapes(everything=True))
    assert "27 left over: model.layers.0.self_attn.q_proj.bias" in message


def test_more_layers_than_the_configuration_says():
    config = replace(PLAIN, n_layers=2, windows=(None, None))
    assert "9 left over: model.layers.2.input_layernorm.weight" in refusal(config, hf_shapes())


def test_wrong_shapes_are_named_with_both():
    shapes = hf_shapes() | {"model.layers.0.self_attn.k_proj.weight": (H * K, D)}
    message = refusal(PLAIN, shapes)
    assert "1 of the wrong shape: model.layers.0.self_attn.k_proj.weight is [32, 24]" in message
    assert "and not [16, 24]" in message


def test_all_problems_stand_in_one_line():
    shapes = meta_shapes() | {"norm.weight": (D + 1,), "extra": (1,)}
    del shapes["output.weight"]
    message = refusal(PLAIN, shapes, "meta")
    assert "1 missing: output.weight; 1 left over: extra; 1 of the wrong shape: norm" in message
