"""Make the small models of tests/fixtures, with the logits that transformers computes for them.

    pip install torch transformers safetensors
    PYTHONPATH=. python tools/make_fixtures.py [name ...]

Each fixture is a random model of a few layers in a file format that people use, its config written
by hand in one of the spellings found in the wild, and `expected.npz`:

    ids     int32 [T]        a prompt
    logits  float32 [T, V]   transformers' float64 logits after every token, from the matrices as
                             f16 holds them
    greedy  int32 [n]        its 16 most likely next tokens, of GPT-2 24, decoded one by one with a
                             cache

A prompt is searched for whose every position, in the prompt and the continuation, keeps a distance
between the two best tokens, so that tests may demand equal ids. Its logits may not depend much on
the few keys and values that lie next to a boundary of f16's rounding: float32 arithmetic moves some
of them across. Every feature a fixture stands for is left out once, which must change the logits,
or the fixture would prove nothing. Runs are reproducible byte for byte with the same versions of
the packages.
"""

import copy
import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.utils.logging import disable_progress_bar

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.config import ModelConfig, config_from_checkpoint
from tests import reference
from tests.reference import Gpt2Weights, Weights

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
MARGIN = 4e-3  # between the two best logits, over the RMS of all: transformers' float64
MARGIN_F16_KV = 2e-3  # the same where the cache is f16
LEAST_CHANGE = 1e-2  # relative RMS of the logits when a feature is left out
WEIGHT_STD = {  # others: 0.15
    "q_proj": 0.1,
    "k_proj": 0.1,
    "o_proj": 0.04,
    "c_attn": 0.1,
    "c_proj": 0.1,
    "wte": 0.2,
    "wpe": 0.8,
}
GRANITE_RESIDUAL = 0.8
LEAST_DISTINCT = 4  # ids in the continuation; one over and over would hide faults
FLOAT32_NOISE = 3e-7  # of the RMS of K and V: how far float32 arithmetic is from float64
MOST_SENSITIVE = 1e-5  # relative RMS of the logits' change when such noise flips roundings to f16

Tensors = dict[str, torch.Tensor]
Ablation = Callable[[ModelConfig, Weights], tuple[ModelConfig, Weights]]


# ---- leaving one feature out ----


def without_scaling(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """Plain rotary embeddings."""
    return replace(config, rope=replace(config.rope, scaling=None)), weights


def with_theta_10000(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """The usual base."""
    return replace(config, rope=replace(config.rope, theta=1e4)), weights


def with_other_pairing(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """The other format's channel pairs."""
    other = "adjacent" if config.rope.pairing == "half" else "half"
    return replace(config, rope=replace(config.rope, pairing=other)), weights


def with_fields(**fields: Any) -> Ablation:
    """Other hyperparameters."""
    return lambda config, weights: (replace(config, **fields), weights)


def without_residual_multiplier(
    config: ModelConfig, weights: Weights
) -> tuple[ModelConfig, Weights]:
    """What Granite's layers add is added as it is."""
    added = config.embedding_scale * GRANITE_RESIDUAL
    return replace(config, embedding_scale=added), weights


def with_short_factors(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """The factors of sequences that are not longer than those of the training."""
    return replace(config, rope=config.rope.for_length(1)), weights


def rotating_wholly(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """All channels of the heads rotate."""
    return replace(config, rope=replace(config.rope, width=None, scaling=None)), weights


def without_windows(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """Attention to everything."""
    return replace(config, windows=(None,) * config.n_layers), weights


def with_windows_everywhere(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """The last layer's window in all layers."""
    return replace(config, windows=config.windows[-1:] * config.n_layers), weights


def without(*parts: str) -> Ablation:
    """Some tensors of every layer left out."""

    def ablate(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
        weights = copy.copy(weights)
        weights.layers = [replace(layer, **dict.fromkeys(parts)) for layer in weights.layers]
        return config, weights

    return ablate


def without_attention(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
    """Every fixture: attention adds nothing to the residual stream."""
    weights = copy.copy(weights)
    weights.layers = [
        replace(layer, o=0 * layer.o, o_bias=None if layer.o_bias is None else 0 * layer.o_bias)
        for layer in weights.layers
    ]
    return config, weights


def without_positions(config: ModelConfig, weights: Gpt2Weights) -> tuple[ModelConfig, Gpt2Weights]:
    """GPT-2's tokens do not know their places."""
    return config, replace(weights, positions=0 * weights.positions)


def zeroed(*parts: str) -> Ablation:
    """Some tensors of every layer replaced by zeros."""

    def ablate(config: ModelConfig, weights: Weights) -> tuple[ModelConfig, Weights]:
        def zero(layer: Any) -> Any:
            return replace(layer, **{part: 0 * getattr(layer, part) for part in parts})

        return config, replace(weights, layers=[zero(layer) for layer in weights.layers])

    return ablate


QKV_BIAS = ("q_bias", "k_bias", "v_bias")
MLP_BIAS = ("gate_bias", "up_bias", "down_bias")


# ---- the fixtures ----


@dataclass(frozen=True)
class Fixture:
    """One small model: what config.json says, how it is saved, how long its prompt is."""

    name: str
    config: dict[str, Any]
    prompt_length: int = 40
    ablations: tuple[Ablation, ...] = ()
    dtype: torch.dtype = torch.float16
    shards: int = 1
    token_by_token: bool = False  # the prompt too, not only its continuation
    generation_config: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] | None = None  # params.json: saved in Meta's layout, 2 shards
    meta_embedding_axis: int = 1
    greedy_steps: int = 16
    prefix: str = ""  # in front of the names in the file, in place of the model's own
    masks: bool = False  # the causal mask in every layer, as older GPT-2 files have it


def hf_config(architecture: str = "Llama", **keys: Any) -> dict[str, Any]:
    """A config.json with the sizes most fixtures have; keys given as ... are left out."""
    config = {
        "architectures": [f"{architecture}ForCausalLM"],
        "model_type": architecture.lower(),
        "vocab_size": 160,
        "hidden_size": 48,
        "intermediate_size": 112,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | keys
    return {key: value for key, value in config.items() if value is not ...}


def gpt2_config(**keys: Any) -> dict[str, Any]:
    """A GPT-2's config.json."""
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": 160,
        "n_embd": 48,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": 64,
        "n_ctx": 64,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "resid_pdrop": 0.1,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "bos_token_id": 159,
        "eos_token_id": 159,
    }
    return config | keys


def gemma_config(architecture: str, **keys: Any) -> dict[str, Any]:
    """A Gemma's config.json: heads that are wider than the model divided by their number."""
    config = {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "hidden_act": ...,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    return hf_config(architecture, **(config | keys))


GEMMA_ABLATIONS = (
    without_windows,
    without("attn_norm_after"),
    without("ffn_norm_after"),
    without("attn_norm", "ffn_norm"),
    with_fields(embedding_scale=1.0),
    with_fields(activation="silu"),
)

GPT2_ABLATIONS = (
    without_positions,
    zeroed(*QKV_BIAS),
    zeroed("o_bias"),
    zeroed("up_bias", "down_bias"),
    zeroed("attn_norm_bias", "ffn_norm_bias"),
)

LLAMA2 = hf_config(
    hidden_size=64, intermediate_size=96, num_key_value_heads=4, max_position_embeddings=128
)
LLAMA31 = hf_config(
    hidden_size=64,
    rope_theta=500000.0,
    rope_scaling={
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
        "rope_type": "llama3",
    },
)

FIXTURES_MADE = (
    Fixture("llama2-mha", LLAMA2),
    Fixture(
        "llama3-gqa",
        hf_config(
            num_hidden_layers=3, intermediate_size=96, rope_theta=500000.0, eos_token_id=[3, 4]
        ),
        prompt_length=48,
        ablations=(with_theta_10000,),
    ),
    Fixture("llama31-scaled", LLAMA31, prompt_length=64, ablations=(without_scaling,)),
    Fixture(
        "llama32-tied",
        hf_config(
            head_dim=64,
            tie_word_embeddings=True,
            rope_theta=...,
            rope_parameters={
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 48,
                "rope_theta": 500000.0,
                "rope_type": "llama3",
            },
        ),
        prompt_length=56,
        ablations=(without_scaling, with_theta_10000),
        dtype=torch.bfloat16,
        generation_config={"bos_token_id": 1, "eos_token_id": [5, 6]},
    ),
    Fixture(
        "rope-linear",
        hf_config(rope_scaling={"type": "linear", "factor": 4.0}, rms_norm_eps=...),
        ablations=(without_scaling,),
    ),
    Fixture(
        "rope-dynamic",
        hf_config(
            rope_scaling={"type": "dynamic", "factor": 4.0},
            max_position_embeddings=24,
            num_attention_heads=3,
            num_key_value_heads=3,
        ),
        prompt_length=72,
        ablations=(without_scaling,),
        token_by_token=True,
    ),
    Fixture(
        "rope-yarn",
        hf_config(
            hidden_size=64,
            intermediate_size=80,
            rope_scaling={
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 32,
                "beta_fast": 4.0,
                "beta_slow": 1.0,
            },
            max_position_embeddings=128,
        ),
        prompt_length=100,
        ablations=(without_scaling,),
    ),
    Fixture(
        "llama-biases",
        hf_config(attention_bias=True, mlp_bias=True),
        ablations=(without(*QKV_BIAS), without("o_bias"), without(*MLP_BIAS)),
    ),
    Fixture(
        "mistral-window",
        hf_config("Mistral", sliding_window=12, num_attention_heads=6),
        ablations=(without_windows,),
    ),
    Fixture(
        "qwen2-upper-windows",
        hf_config(
            "Qwen2",
            num_hidden_layers=3,
            intermediate_size=80,
            use_sliding_window=True,
            sliding_window=10,
            max_window_layers=1,
            rms_norm_eps=1e-6,
        ),
        ablations=(without_windows, with_windows_everywhere, without(*QKV_BIAS)),
    ),
    Fixture(
        "qwen25-tied",
        hf_config(
            "Qwen2",
            tie_word_embeddings=True,
            rope_theta=1000000.0,
            rms_norm_eps=1e-6,
            use_sliding_window=False,
            sliding_window=8,
            max_window_layers=0,
        ),
        ablations=(without(*QKV_BIAS), with_theta_10000),
        dtype=torch.bfloat16,
    ),
    Fixture(
        "qwen3-qk-norm",
        hf_config(
            "Qwen3",
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=128,
            rope_theta=1000000.0,
            rms_norm_eps=1e-6,
            sliding_window=None,
            use_sliding_window=False,
            attention_bias=False,
        ),
        ablations=(without("q_norm", "k_norm"),),
    ),
    Fixture(
        "smollm-tied-9-3",
        hf_config(
            hidden_size=72,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        ),
        dtype=torch.bfloat16,
    ),
    Fixture(
        "mqa", hf_config(num_attention_heads=3, num_key_value_heads=1, head_dim=32, vocab_size=300)
    ),
    Fixture(
        "odd-sizes",
        hf_config(hidden_size=40, intermediate_size=100, vocab_size=131),
        prompt_length=37,
    ),
    Fixture("f32-saved", hf_config(vocab_size=130, intermediate_size=80), dtype=torch.float32),
    Fixture("sharded", hf_config(num_key_value_heads=...), shards=3),
    Fixture(
        "meta-llama2",
        LLAMA2,
        ablations=(with_other_pairing,),
        meta={
            "dim": 64,
            "multiple_of": 32,
            "n_heads": 4,
            "n_layers": 2,
            "norm_eps": 1e-05,
            "vocab_size": -1,
        },
    ),
    Fixture(
        "meta-llama31",
        LLAMA31,
        prompt_length=64,
        ablations=(with_other_pairing, without_scaling),
        dtype=torch.bfloat16,
        meta={
            "dim": 64,
            "ffn_dim_multiplier": 1.0,
            "multiple_of": 16,
            "n_heads": 4,
            "n_kv_heads": 2,
            "n_layers": 2,
            "norm_eps": 1e-05,
            "rope_theta": 500000.0,
            "use_scaled_rope": True,
            "scale_factor": 8,
            "low_freq_factor": 1,
            "high_freq_factor": 4,
            "old_context_len": 32,
            "vocab_size": 160,
        },
        meta_embedding_axis=0,
    ),
    Fixture(
        "gpt2",
        gpt2_config(),
        ablations=GPT2_ABLATIONS,
        dtype=torch.float32,
        masks=True,
        greedy_steps=24,
    ),
    Fixture(
        "gpt2-untied",
        gpt2_config(
            n_head=2,
            n_inner=80,
            activation_function="gelu_pytorch_tanh",
            tie_word_embeddings=False,
        ),
        ablations=GPT2_ABLATIONS,
        prefix="transformer.",
        greedy_steps=24,
    ),
    Fixture(
        "granite",
        hf_config(
            "Granite",
            embedding_multiplier=1.5,
            attention_multiplier=1.5,
            residual_multiplier=GRANITE_RESIDUAL,
            logits_scaling=8.0,
        ),
        ablations=(
            with_fields(embedding_scale=1.0),
            with_fields(attention_scale=None),
            without_residual_multiplier,
        ),
        dtype=torch.bfloat16,
    ),
    Fixture(
        "phi3",
        hf_config(
            "Phi3",
            hidden_size=64,
            max_position_embeddings=128,
            original_max_position_embeddings=32,
            partial_rotary_factor=0.75,
            rope_scaling={
                "type": "longrope",
                "short_factor": [1.0, 1.0, 1.25, 1.5, 2.0, 2.5],
                "long_factor": [1.5, 2.0, 4.0, 6.0, 8.0, 10.0],
            },
            sliding_window=30,
            pad_token_id=0,
        ),
        ablations=(without_windows, with_short_factors, rotating_wholly),
    ),
    Fixture(
        "olmo2",
        hf_config("Olmo2", rope_theta=500000.0, pad_token_id=0),
        ablations=(
            without("q_norm", "k_norm"),
            without("attn_norm_after"),
            without("ffn_norm_after"),
            with_theta_10000,
        ),
    ),
    Fixture(
        "gemma2",
        gemma_config(
            "Gemma2",
            hidden_size=40,
            hidden_act="gelu_pytorch_tanh",
            attn_logit_softcapping=1.5,
            final_logit_softcapping=1.0,
            sliding_window=10,
            cache_implementation="hybrid",
        ),
        ablations=(
            *GEMMA_ABLATIONS,
            with_windows_everywhere,
            with_fields(attention_softcap=None),
            with_fields(logits_softcap=None),
        ),
        dtype=torch.bfloat16,
    ),
    Fixture(
        "gemma3",
        gemma_config(
            "Gemma3",
            model_type="gemma3_text",
            hidden_size=32,
            intermediate_size=80,
            num_hidden_layers=3,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            rope_scaling={"factor": 8.0, "rope_type": "linear"},
            sliding_window=14,
            sliding_window_pattern=3,
        ),
        prompt_length=36,
        ablations=(
            *GEMMA_ABLATIONS,
            without("q_norm", "k_norm"),
            without_scaling,
            with_theta_10000,
            with_fields(local_rope=None),
        ),
    ),
)


# ---- weights ----


def random_tensors(fixture: Fixture, seed: int) -> Tensors:
    """Weights of the model that config.json describes, under its own names, in the saved dtype."""
    config = AutoConfig.for_model(**copy.deepcopy(fixture.config))
    with torch.device("meta"):
        shapes = AutoModelForCausalLM.from_config(config).state_dict()
    generator = np.random.default_rng(seed)
    tensors = {}
    is_gemma = "hidden_activation" in fixture.config
    for name, like in sorted(shapes.items()):
        if name == "lm_head.weight" and fixture.config["tie_word_embeddings"]:
            continue
        values = generator.standard_normal(tuple(like.shape))
        if name.endswith("norm.weight") or (".ln_" in name and name.endswith(".weight")):
            values = (0.0 if is_gemma else 1.0) + 0.3 * values  # Gemma adds 1
            if is_gemma and name.endswith("post_attention_layernorm.weight"):
                values = 0.15 * values - 0.85  # what the cache rounds would tell too much otherwise
        elif name.endswith(".bias"):
            values = 0.4 * values
        elif name == "model.embed_tokens.weight":
            values *= 0.4 if fixture.config["tie_word_embeddings"] else 0.6
            if is_gemma:
                values /= math.sqrt(fixture.config["hidden_size"])
        else:
            part = name.removesuffix(".weight").rsplit(".", 1)[-1]
            values *= WEIGHT_STD.get(part, 0.15)
        tensors[name] = torch.from_numpy(values).to(fixture.dtype)
    return tensors


def save_hf(folder: Path, fixture: Fixture, tensors: Tensors) -> None:
    """config.json, generation_config.json and one or several safetensors files with an index."""
    write_json(folder / "config.json", fixture.config)
    if fixture.generation_config:
        write_json(folder / "generation_config.json", fixture.generation_config)
    if fixture.shards == 1:
        own = "transformer."
        tensors = {
            fixture.prefix + name.removeprefix(own) if name.startswith(own) else name: tensor
            for name, tensor in tensors.items()
        }
        if fixture.masks:
            positions = fixture.config["n_positions"]
            for i in range(fixture.config["n_layer"]):
                mask = torch.ones(1, 1, positions, positions, dtype=torch.uint8).tril()
                tensors[f"{fixture.prefix}h.{i}.attn.bias"] = mask
                tensors[f"{fixture.prefix}h.{i}.attn.masked_bias"] = torch.tensor(-10000.0)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for shard in range(fixture.shards):
        names = list(tensors)[shard :: fixture.shards]
        file = f"model-{shard + 1:05}-of-{fixture.shards:05}.safetensors"
        save_file({n: tensors[n] for n in names}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / "model.safetensors.index.json", index)


META_PARTS = {
    "self_attn.q_proj": ("attention.wq", 0),
    "self_attn.k_proj": ("attention.wk", 0),
    "self_attn.v_proj": ("attention.wv", 0),
    "self_attn.o_proj": ("attention.wo", 1),
    "mlp.gate_proj": ("feed_forward.w1", 0),
    "mlp.down_proj": ("feed_forward.w2", 1),
    "mlp.up_proj": ("feed_forward.w3", 0),
    "input_layernorm": ("attention_norm", None),
    "post_attention_layernorm": ("ffn_norm", None),
}


def save_meta(folder: Path, fixture: Fixture, tensors: Tensors) -> None:
    """params.json and two shards: columns of the column-parallel matrices, rows of the others."""
    shards: tuple[Tensors, Tensors] = ({}, {})
    top = {
        "model.embed_tokens.weight": ("tok_embeddings.weight", fixture.meta_embedding_axis),
        "model.norm.weight": ("norm.weight", None),
        "lm_head.weight": ("output.weight", 0),
    }
    for name, tensor in tensors.items():
        if name in top:
            meta_name, axis = top[name]
        else:
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            meta_part, axis = META_PARTS[part]
            meta_name = f"layers.{layer}.{meta_part}.weight"
        if meta_name.endswith(("wq.weight", "wk.weight")):
            tensor = adjacent_pairs(tensor, fixture.config["hidden_size"] // 4)
        pieces = (tensor, tensor) if axis is None else tensor.chunk(2, dim=axis)
        for shard, piece in zip(shards, pieces, strict=True):
            shard[meta_name] = piece.clone()
    for i, shard in enumerate(shards):
        shard["rope.freqs"] = torch.zeros(8, dtype=fixture.dtype)  # Llama 2's files carry such
        torch.save(shard, folder / f"consolidated.{i:02}.pth")
    write_json(folder / "params.json", fixture.meta)


def adjacent_pairs(matrix: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of q or k from Hugging Face's order of a head's channels to Meta's."""
    heads = matrix.view(-1, 2, head_dim // 2, matrix.shape[1])
    return heads.transpose(1, 2).reshape(matrix.shape)


def write_json(path: Path, value: Any) -> None:
    """Indented, as people's files are."""
    path.write_text(json.dumps(value, indent=2) + "\n")


# ---- expected values ----


def load_truth(folder: Path, tensors: Tensors, fixture: Fixture) -> Any:
    """transformers' model in float64, its matrices rounded to f16."""
    config = AutoConfig.for_model(**copy.deepcopy(fixture.config))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").double().eval()
    if fixture.meta is None:
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="eager"
        )
        assert all(torch.equal(loaded.state_dict()[n], t.double()) for n, t in tensors.items())
        model = loaded.eval()
    rounded = {n: t.half().double() if t.dim() == 2 else t.double() for n, t in tensors.items()}
    missing, unexpected = model.load_state_dict(rounded, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    return model


@torch.inference_mode()
def decode(
    model: Any, ids: list[int], token_by_token: bool, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """float64 logits [T + n - 1, V] of the prompt and its continuation, the greedy ids [n]."""
    cache = DynamicCache(config=model.config)
    chunks = [[i] for i in ids] if token_by_token else [ids]
    rows = [
        model(torch.tensor([chunk]), past_key_values=cache, use_cache=True).logits[0]
        for chunk in chunks
    ]
    greedy = [int(rows[-1][-1].argmax())]
    while len(greedy) < steps:
        step = model(torch.tensor([greedy[-1:]]), past_key_values=cache, use_cache=True)
        rows.append(step.logits[0])
        greedy.append(int(rows[-1][-1].argmax()))
    return torch.cat(rows).double().numpy(), np.array(greedy, np.int32)


def noisy_f16(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Rounding to f16 of values that float32 arithmetic has moved a little."""
    generator = np.random.default_rng(seed)

    def keep(x: np.ndarray) -> np.ndarray:
        noise = FLOAT32_NOISE * np.sqrt(np.mean(x**2)) * generator.standard_normal(x.shape)
        return reference.f16(x + noise)

    return keep


def make(fixture: Fixture, seed: int) -> None:
    """Write one fixture, check it and print what was found."""
    folder = FIXTURES / fixture.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = random_tensors(fixture, seed)
    if fixture.meta is None:
        save_hf(folder, fixture, tensors)
    else:
        save_meta(folder, fixture, tensors)
    with open_checkpoint(folder) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)

    for attempt in range(1000):
        generator = np.random.default_rng((seed, attempt))
        ids = generator.integers(0, config.vocab_size, fixture.prompt_length).astype(np.int32)
        # A fresh model, because dynamic scaling remembers the longest sequence it has seen.
        model = load_truth(folder, tensors, fixture)
        logits, greedy = decode(model, ids.tolist(), fixture.token_by_token, fixture.greedy_steps)
        margin = reference.top2_margins(logits).min()
        if margin < MARGIN or len(set(greedy.tolist())) < LEAST_DISTINCT:
            continue
        fed = np.concatenate([ids, greedy[:-1]])
        device_logits = reference.logits(config, weights, fed)
        device_margin = reference.top2_margins(device_logits).min()
        same = np.array_equal(reference.argmax(device_logits), reference.argmax(logits))
        if not same or device_margin < MARGIN_F16_KV:
            continue
        sensitivity = 0.0
        for draw in range(24):
            noisy = reference.logits(config, weights, fed, kept=noisy_f16(draw))
            sensitivity = max(sensitivity, reference.relative_rms(noisy, device_logits))
            if sensitivity > MOST_SENSITIVE:
                break
        else:
            break
    else:
        raise SystemExit(f"{fixture.name}: no prompt keeps the margin")

    exact = reference.logits(config, weights, fed, kept=np.asarray)
    changes = []
    for ablation in (without_attention, *fixture.ablations):
        ablated = reference.logits(*ablation(config, weights), fed, kept=np.asarray)
        changes.append(reference.relative_rms(ablated, logits))
    np.savez(
        folder / "expected.npz",
        ids=ids,
        logits=logits[: len(ids)].astype(np.float32),
        greedy=greedy,
    )
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f"{fixture.name:20} {size / 1024:4.0f} KiB, prompt {attempt:3}, margin {margin:.1e}, "
        f"reference {reference.relative_rms(exact, logits):.1e}, "
        f"f16 KV {reference.relative_rms(device_logits, logits):.1e}, "
        f"flips {sensitivity:.1e}, "
        f"left out {' '.join(f'{change:.2g}' for change in changes)}, "
        f"distinct {len(set(greedy.tolist()))}",
        flush=True,
    )
    if min(changes) < LEAST_CHANGE:
        raise SystemExit(f"{fixture.name}: leaving a feature out changes too little")


# ---- rotary tables ----

ROPE_CASES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 3.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "yarn_betas": {
        "rope_type": "yarn",
        "factor": 8.0,
        "original_max_position_embeddings": 4096,
        "beta_fast": 16.0,
        "beta_slow": 2.0,
        "truncate": False,
    },
    "yarn_mscale": {
        "rope_type": "yarn",
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "mscale": 0.707,
        "mscale_all_dim": 1.2,
    },
    "yarn_attention_factor": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 4096,
        "attention_factor": 0.9,
    },
    "llama31": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "llama32": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + i / 64 for i in range(32)],
    "long_factor": [1.0 + i for i in range(32)],
    "original_max_position_embeddings": 4096,
}
ROPE_CASES |= {"longrope_short": LONGROPE, "longrope_long": LONGROPE}
LENGTHS = {"dynamic": 300, "longrope_long": 4097}  # tokens; dynamic: of a model made for 100


def make_rope_tables() -> None:
    """rope.json: transformers' inverse frequencies and attention factor of each kind of scaling."""
    cases = []
    for name, scaling in ROPE_CASES.items():
        long = scaling.get("original_max_position_embeddings", 0) > 100
        config = hf_config(
            hidden_size=128,
            num_attention_heads=2,
            rope_theta=500000.0 if "llama" in name else 10000.0,
            max_position_embeddings=131072 if long else 100,
            rope_scaling=scaling,
        )
        rope_config = AutoConfig.for_model(**copy.deepcopy(config))
        length = LENGTHS.get(name)
        frequencies, factor = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](rope_config, seq_len=length)
        cases.append(
            {
                "name": name,
                "config": config,
                "length": length,
                "inverse_frequencies": [float(f) for f in frequencies],
                "attention_factor": float(factor),
            }
        )
    write_json(FIXTURES / "rope.json", cases)


def main() -> None:
    """Make the fixtures named on the command line, or all of them."""
    torch.set_num_threads(1)
    disable_progress_bar()
    wanted = sys.argv[1:]
    for seed, fixture in enumerate(FIXTURES_MADE):
        if not wanted or fixture.name in wanted:
            make(fixture, seed)
    if not wanted:
        make_rope_tables()


if __name__ == "__main__":
    main()
