"""GGUF's metadata and tensors: the models of tests/fixtures, written as such files, are the same.

The files are written here as llama.cpp's converter writes them: rows of q and k reordered for the
architecture "llama", Llama 3.1's scaling as divisors of the frequencies.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cl_llama.blocks import quantize
from cl_llama.checkpoints import Checkpoint, open_checkpoint
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import CheckpointError, ConfigError
from cl_llama.llm import Llama
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.loading import load_model
from cl_llama.models.rope import (
    FactorScaling,
    LinearScaling,
    LongRopeScaling,
    RopeConfig,
    YarnScaling,
)
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.runtime import Runtime
from tests import reference
from tests.gguf_writer import as_gguf, interleaved, write_gguf
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES

LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def gguf_name(name: str) -> str:
    stem, kind = name.rsplit(".", 1)
    if stem in TOP_NAMES:
        return f"{TOP_NAMES[stem]}.{kind}"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.{kind}"


def metadata_of(config: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a fixture's config.json."""
    architecture = config["model_type"].replace("mistral", "llama")
    heads = config["num_attention_heads"]
    values: dict[str, Any] = {
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps", 1e-6),
        "rope.freq_base": config["rope_theta"],
    }
    if "head_dim" in config:
        width = config["head_dim"]
        values |= {"attention.key_length": width, "attention.value_length": width}
    if config["model_type"] == "mistral":
        values["attention.sliding_window"] = config["sliding_window"]
    scaling = config.get("rope_scaling", {})
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind in ("linear", "yarn"):
        values |= {"rope.scaling.type": kind, "rope.scaling.factor": scaling["factor"]}
    if kind == "yarn":
        values["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
        values["rope.scaling.yarn_beta_fast"] = scaling["beta_fast"]
    entries = {f"{architecture}.{key}": value for key, value in values.items()}
    return entries | {
        "general.architecture": architecture,
        "tokenizer.ggml.bos_token_id": config["bos_token_id"],
    }


def llama3_divisors(config: dict[str, Any]) -> np.ndarray:
    """What Meta's code makes of each pair's frequency, as a divisor."""
    scaling = config["rope_scaling"]
    width = config["hidden_size"] // config["num_attention_heads"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    divisors = []
    for pair in range(width // 2):
        wavelength = 2 * np.pi * config["rope_theta"] ** (2 * pair / width)
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, np.float32)


def write_fixture(name: str, path: Path) -> Path:
    """A fixture's model as a GGUF file."""
    with open_checkpoint(FIXTURES / name) as source:
        config = dict(source.config)
        arrays = {}
        for tensor in source.tensors.values():
            values = tensor.read_rows(0, tensor.shape[0])
            values = np.array(values, np.float16 if values.ndim == 2 else np.float32)
            if config["model_type"] in ("llama", "mistral"):
                for part, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
                    if f"{part}_proj" in tensor.name:
                        values = interleaved(values, config[heads])
            arrays[gguf_name(tensor.name)] = values
    if config.get("rope_scaling", {}).get("rope_type") == "llama3":
        arrays["rope_freqs.weight"] = llama3_divisors(config)
    return write_gguf(path, metadata_of(config), as_gguf(arrays))


NAMES = [
    "llama31-scaled",
    "llama-biases",
    "mistral-window",
    "qwen25-tied",
    "qwen3-qk-norm",
    "rope-linear",
    "rope-yarn",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_model(tmp_path: Path, name: str) -> None:
    known = fixture_models.truth(name)
    with open_checkpoint(write_fixture(name, tmp_path / "model.gguf")) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    expected = replace(
        known.config,
        architecture=known.config.architecture.replace("mistral", "llama"),
        norm_eps=config.norm_eps,
        rope=config.rope,
        eos_ids=(),
    )
    assert config == expected and config.norm_eps == pytest.approx(known.config.norm_eps, rel=1e-6)
    ids = np.concatenate([known.ids, known.greedy[:-1]])
    logits = reference.logits(config, weights, ids)
    # The file's divisors and epsilon are float32; K may round to another f16 for it.
    assert reference.relative_rms(logits, known.logits) < 1e-5


def test_quantised_on_a_device(tmp_path: Path, runtime: Runtime) -> None:
    """Matrices in blocks, where rows are whole ones, beside others that are f16.

    Llama 3.1's spelled out frequencies over pairs of neighbours are on the device with them.
    """
    whole = write_fixture("llama31-scaled", tmp_path / "whole.gguf")
    with open_checkpoint(whole) as checkpoint:
        metadata, tensors = dict(checkpoint.config), {}
        for tensor in checkpoint.tensors.values():
            values = np.array(tensor.read_rows(0, tensor.shape[0]))
            if values.ndim == 2 and values.shape[1] % 32 == 0:
                stored = quantize("q8_0", values).tobytes()
                tensors[tensor.name] = ("q8_0", values.shape, stored)
            else:
                tensors |= as_gguf({tensor.name: values})
    with open_checkpoint(write_gguf(tmp_path / "model.gguf", metadata, tensors)) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
        model = load_model(config, map_tensors(config, checkpoint), runtime, precision="high")
    ids = fixture_models.truth("llama31-scaled").ids
    table = np.arange(model.num_blocks, dtype=np.int32)
    logits = fixture_models.forward(model, fixture_models.slice_of(ids, 0, table, "all"))
    assert reference.relative_rms(logits, reference.logits(config, weights, ids)) <= 5e-5


def test_real_file(shared_data: Callable[[str], Path], runtime: Runtime) -> None:
    """From a file to text, by its own vocabulary; logits as the reference's."""
    path = shared_data("gguf/llama-2-tiny-random.gguf")
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    with Llama.from_pretrained(path, device=runtime.device.index, max_seq_len=64) as llm:
        ids = llm.tokenizer.encode("Hello world")
        assert ids == [1, 15043, 3186]
        logits = llm.logits(ids)
        made = llm.generate("Hello world", SamplingParams(max_new_tokens=4, temperature=0.0))
        assert made.token_ids[0] == np.argmax(logits[-1]) and made.text
    assert reference.relative_rms(logits, reference.logits(config, weights, ids)) <= 5e-5


LLAMA = metadata_of(json.loads((FIXTURES / "rope-yarn" / "config.json").read_text()))


def configured(tmp_path: Path, changes: dict[str, Any], tensors: dict[str, np.ndarray]) -> Any:
    entries = {key: value for key, value in (LLAMA | changes).items() if value is not ...}
    path = write_gguf(tmp_path / "model.gguf", entries, as_gguf(tensors))
    with open_checkpoint(path) as checkpoint:
        return config_from_checkpoint(checkpoint)


EMBEDDING = {"token_embd.weight": np.zeros((160, 64), np.float32)}


@pytest.mark.parametrize(
    ("changes", "divisors", "rope", "length"),
    [
        ({"llama.rope.scaling.type": "none"}, None, None, 128),
        ({"llama.rope.scaling.type": ...}, None, LinearScaling(4.0), 512),
        (
            {"llama.rope.scaling.type": ..., "llama.rope.scaling.factor": 0.0},
            None,
            None,
            128,
        ),
        (
            {
                "llama.rope.scaling.type": ...,
                "llama.rope.scaling.factor": ...,
                "llama.rope.scale_linear": 2.0,
            },
            np.full(8, 3, np.float32),
            FactorScaling((6.0,) * 8),
            256,
        ),
        (
            {"llama.rope.scaling.attn_factor": 2.0},
            None,
            YarnScaling(4.0, 32, 2 * (0.1 * np.log(4) + 1), 4.0, 1.0),
            128,
        ),
    ],
)
def test_rotary_scaling(tmp_path, changes, divisors, rope, length):
    tensors = EMBEDDING | ({} if divisors is None else {"rope_freqs.weight": divisors})
    config = configured(tmp_path, changes, tensors)
    assert config.rope == RopeConfig(10000.0, "adjacent", rope)
    assert config.max_seq_len == length


def other(architecture: str) -> dict[str, Any]:
    """The same sizes under another architecture's keys."""
    entries = {key.replace("llama.", f"{architecture}."): value for key, value in LLAMA.items()}
    return entries | {"general.architecture": architecture}


def test_granite(tmp_path):
    """Its multipliers, the residual stream's taken into the others."""
    scales = {"embedding_scale": 12.0, "residual_scale": 0.5, "logit_scale": 8.0}
    entries = {f"granite.{key}": value for key, value in scales.items()}
    config = configured(tmp_path, other("granite") | entries, EMBEDDING)
    assert (config.embedding_scale, config.logits_scale) == (24.0, 0.125)
    assert config.norm_eps == pytest.approx(4e-5) and config.attention_scale is None
    assert config.rope.pairing == "adjacent"


def test_gemma2(tmp_path):
    """Files say neither how scores are scaled nor which layers have windows."""
    sizes = {"gemma2.block_count": 46, "gemma2.attention.key_length": 32}
    sizes |= {"gemma2.attention.value_length": 32, "gemma2.rope.scaling.type": "none"}
    config = configured(tmp_path, other("gemma2") | sizes, EMBEDDING)
    assert config.attention_scale == 0.25 and config.head_dim == 32
    assert config.windows == (4096, None) * 23
    assert (config.attention_softcap, config.logits_softcap) == (50.0, 30.0)
    assert (config.activation, config.embedding_scale, config.norm_shift) == ("gelu", 8.0, 0.0)


def test_phi3(tmp_path):
    """Heads that rotate in part, by one list of factors up to the original length."""
    lists = {
        f"rope_factors_{name}.weight": np.full(4, value, np.float32)
        for name, value in (("short", 1.5), ("long", 3.0))
    }
    changes = {"phi3.rope.dimension_count": 8, "phi3.rope.scaling.attn_factor": 1.25}
    config = configured(tmp_path, other("phi3") | changes, EMBEDDING | lists)
    assert config.rope == RopeConfig(
        10000.0, "half", LongRopeScaling((1.5,) * 4, (3.0,) * 4, 32, 1.25, 128), 8
    )
    assert config.max_seq_len == 128
    del lists["rope_factors_short.weight"]
    with pytest.raises(ConfigError, match=r"rope_factors_short\.weight is missing"):
        configured(tmp_path, other("phi3") | changes, EMBEDDING | lists)


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("gemma3", {}, "lacks gemma3.attention.sliding_window"),
        ("gemma3", {"attn_logit_softcapping": 9.0}, "attn_logit_softcapping is 9.0; expected it"),
        ("olmo2", {"logit_scale": 2.0}, "olmo2.logit_scale is 2.0; expected it to be absent"),
        ("phi3", {"rope.dimension_count": 18}, "dimension_count is 18; expected an even number of"),
    ],
)
def test_unsupported_values_of_others(tmp_path, architecture, changes, message):
    entries = {f"{architecture}.{key}": value for key, value in changes.items()}
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, other(architecture) | entries, EMBEDDING)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"general.architecture": "gemma"},
            "general.architecture is 'gemma'; expected one of llama",
        ),
        ({"general.architecture": ...}, "lacks general.architecture"),
        ({"llama.block_count": ...}, "lacks llama.block_count"),
        ({"llama.attention.head_count": np.array([4, 2], np.int32)}, "head_count is an array of 2"),
        ({"llama.attention.head_count": 5}, "embedding_length is 64; expected a multiple of"),
        (
            {"llama.attention.value_length": 8},
            "value_length is 8; expected 16, the width of a head",
        ),
        ({"llama.rope.dimension_count": 8}, "dimension_count is 8; expected 16"),
        (
            {"llama.rope.scaling.type": "longrope"},
            "scaling.type is 'longrope'; expected one of none",
        ),
        ({"llama.expert_count": 8}, "llama.expert_count is 8; expected it to be absent"),
        ({"llama.rope.scaling.yarn_ext_factor": 0.5}, "yarn_ext_factor is 0.5"),
        ({"tokenizer.ggml.bos_token_id": 160}, "bos_token_id is 160"),
    ],
)
def test_unsupported_values(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, changes, EMBEDDING)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "holds a vocabulary alone"),
        ({"a": np.zeros(3, np.float32)}, "token_embd.weight is missing"),
        (EMBEDDING | {"rope_freqs.weight": np.ones(7, np.float32)}, "none or linear|has shape"),
        (EMBEDDING | {"rope_freqs.weight": np.zeros(8, np.float32)}, "0 among its values"),
        (EMBEDDING | {"rope_freqs.weight": np.ones(8, np.float32)}, "expected none or linear"),
    ],
)
def test_unsupported_tensors(tmp_path, tensors, message):
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, {}, tensors)


def test_tensors_that_are_left_over(tmp_path: Path) -> None:
    path = write_fixture("rope-linear", tmp_path / "model.gguf")
    with open_checkpoint(path) as whole:
        config = config_from_checkpoint(whole)
        tensors = {**whole.tensors, "blk.0.ffn_gate_inp.weight": whole.tensors["output.weight"]}
        changed = Checkpoint(path, "gguf", whole.config, {}, tensors, None, ())
        with pytest.raises(CheckpointError, match=r"1 left over: blk\.0\.ffn_gate_inp\.weight"):
            map_tensors(config, changed)
