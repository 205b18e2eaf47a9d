"""Configurations that people have, and configurations that must be refused."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.errors import ConfigError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RopeConfig,
    YarnScaling,
    yarn_attention_factor,
)


@dataclass(frozen=True)
class Shape(HostTensor):
    """A tensor without values."""

    def _read_rows(self, start, stop):
        raise AssertionError("configurations need no values")

    def release(self):
        raise AssertionError("configurations need no values")


def checkpoint(config, generation_config=None, file_format="hf", shapes=None):
    shapes = {"lm_head.weight": (32000, 4096)} if shapes is None else shapes
    tensors = {name: Shape(name, shape, "f16") for name, shape in shapes.items()}
    return Checkpoint(
        Path("model"), file_format, config, generation_config or {}, tensors, None, ()
    )


def without_absent(config):
    return {key: value for key, value in config.items() if value is not ...}


def hf(architecture="Llama", /, **keys):
    """Llama 2 7B's config.json, with keys replaced, or left out where given as `...`."""
    return without_absent(
        {
            "architectures": [f"{architecture}ForCausalLM"],
            "model_type": architecture.lower(),
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 4,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        | keys
    )


def read_hf(architecture="Llama", /, **keys):
    return config_from_checkpoint(checkpoint(hf(architecture, **keys)))


META_SHAPES = {
    "tok_embeddings.weight": (32000, 4096),
    "layers.0.feed_forward.w1.weight": (11008, 4096),
    "output.weight": (32000, 4096),
}


def meta(**keys):
    """Llama 2 7B's params.json."""
    return without_absent(
        {
            "dim": 4096,
            "multiple_of": 256,
            "n_heads": 32,
            "n_layers": 32,
            "norm_eps": 1e-05,
            "vocab_size": -1,
        }
        | keys
    )


def read_meta(file_format="meta", shapes=META_SHAPES, **keys):
    return config_from_checkpoint(checkpoint(meta(**keys), file_format=file_format, shapes=shapes))


# ---- Hugging Face ----


def test_llama2():
    config = read_hf()
    assert config.architecture == "llama"
    assert (config.vocab_size, config.d_model, config.n_layers, config.d_ff) == (
        32000,
        4096,
        4,
        11008,
    )
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (32, 32, 128)
    assert (config.norm_eps, config.max_seq_len) == (1e-5, 4096)
    assert config.rope == RopeConfig(10000.0, "half", None)
    assert config.windows == (None,) * 4
    assert not (config.qkv_bias or config.o_bias or config.mlp_bias or config.qk_norm)
    assert (config.bos_id, config.eos_ids) == (1, (2,))


def test_defaults_are_the_classes():
    absent = {"num_key_value_heads": ..., "max_position_embeddings": ..., "rms_norm_eps": ...}
    llama = read_hf(**absent, bos_token_id=..., eos_token_id=..., hidden_act=...)
    assert (llama.n_kv_heads, llama.max_seq_len, llama.norm_eps) == (32, 2048, 1e-6)
    assert (llama.bos_id, llama.eos_ids) == (1, (2,))
    mistral = read_hf("Mistral", **absent)
    assert (mistral.n_kv_heads, mistral.max_seq_len) == (8, 131072)
    assert mistral.windows == (4096,) * 4
    qwen3 = read_hf("Qwen3", **absent, bos_token_id=..., eos_token_id=...)
    assert (qwen3.n_kv_heads, qwen3.max_seq_len, qwen3.head_dim) == (32, 32768, 128)
    assert (qwen3.bos_id, qwen3.eos_ids) == (None, ())


def test_model_type_stands_in_for_architectures():
    assert read_hf("Qwen2", architectures=...).architecture == "qwen2"
    assert read_hf("Mistral", architectures=None).architecture == "mistral"


def test_granite():
    """What layers add is taken as it is: the residual stream is divided by its multiplier."""
    multipliers = {"embedding_multiplier": 12, "attention_multiplier": 0.02}
    config = read_hf("Granite", residual_multiplier=0.5, logits_scaling=8, **multipliers)
    assert (config.norm_eps, config.embedding_scale) == (4e-5, 24.0)
    assert (config.attention_scale, config.logits_scale) == (0.02, 0.125)
    with pytest.raises(ConfigError, match="residual_multiplier is 0; expected a number above 0"):
        read_hf("Granite", residual_multiplier=0)


def test_olmo2():
    config = read_hf("Olmo2", rms_norm_eps=..., attention_bias=True)
    assert config.norms_after and not config.norms_before
    assert config.qk_norm and config.qk_norm_whole
    assert config.norm_eps == 1e-5 and config.qkv_bias and config.o_bias and not config.mlp_bias


def phi3(**keys):
    scaling = {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.5] * 48}
    lengths = {"max_position_embeddings": 16384, "original_max_position_embeddings": 4096}
    return read_hf(
        "Phi3", **{"rope_scaling": scaling, "partial_rotary_factor": 0.75, **lengths, **keys}
    )


def test_phi3():
    config = phi3(sliding_window=2047)
    assert config.windows == (2047,) * 4 and config.max_seq_len == 16384
    scaling = config.rope.scaling
    assert config.rope.width == 96
    assert scaling.factors == (1.5,) * 48
    assert scaling.attention_factor == pytest.approx((1 + 2 / 12) ** 0.5)
    short = config.rope.for_length(4096).scaling
    assert short.factors == (1.0,) * 48
    assert short.attention_factor == scaling.attention_factor


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"partial_rotary_factor": 1.0}, "short_factor has 48 numbers; expected 64"),
        ({"partial_rotary_factor": 0.26}, "partial_rotary_factor is 0.26; expected an even part"),
        ({"rope_scaling": {"type": "longrope"}}, "lacks rope_scaling.short_factor"),
        ({"original_max_position_embeddings": ...}, "lacks original_max_position_embeddings"),
        ({"lm_head_bias": True}, "lm_head_bias is True; expected it to be absent"),
    ],
)
def test_phi3_that_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        phi3(**keys)


def test_gemma2():
    """The 27B's: scores are divided by the square root of another number than the head's width."""
    config = read_hf(
        "Gemma2", head_dim=128, query_pre_attn_scalar=144, hidden_act="gelu_pytorch_tanh"
    )
    assert (config.activation, config.norm_shift, config.embedding_scale) == ("gelu", 1.0, 64.0)
    assert (config.attention_softcap, config.logits_softcap) == (50.0, 30.0)
    assert config.attention_scale == 1 / 12 and config.norms_before and config.norms_after
    assert config.windows == (4096, None, 4096, None)
    plain = read_hf("Gemma2", query_pre_attn_scalar=..., attn_logit_softcapping=None, head_dim=...)
    assert (plain.attention_softcap, plain.logits_softcap, plain.head_dim) == (None, 30.0, 256)
    assert plain.attention_scale is None


GEMMA3_4B = {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "model_type": "gemma3_text",
    "num_hidden_layers": 34,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
}


def test_gemma3():
    """The 4B's: the language model's part of a file that leaves out what is usual."""
    whole = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "eos_token_id": [1, 106],
        "text_config": GEMMA3_4B,
        "vision_config": {"hidden_size": 1152},
    }
    config = config_from_checkpoint(checkpoint(whole, shapes={}))
    assert config.architecture == "gemma3" and config.tied_embeddings and config.qk_norm
    assert (config.vocab_size, config.d_model, config.n_layers) == (262208, 2560, 34)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (8, 4, 256)
    assert config.windows == ((1024,) * 5 + (None,)) * 5 + (1024,) * 4
    assert config.rope == RopeConfig(1e6, "half", LinearScaling(8.0))
    assert config.local_rope == RopeConfig(1e4, "half") and config.max_seq_len == 131072
    assert (config.bos_id, config.eos_ids) == (2, (1, 106))
    assert config.attention_softcap is None and config.logits_softcap is None
    newer = {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        "layer_types": ["full_attention", *["sliding_attention"] * 33],
        "rope_scaling": ...,
    }
    text = without_absent({"architectures": ["Gemma3ForCausalLM"]} | GEMMA3_4B | newer)
    again = config_from_checkpoint(checkpoint(text, shapes={}))
    assert (again.rope, again.local_rope) == (config.rope, config.local_rope)
    assert again.windows == (None, *(1024,) * 33)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"hidden_activation": "gelu"}, "hidden_activation is 'gelu'; expected one of gelu_pytorc"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"sliding_window": None}, "sliding_window is None; expected a whole number"),
        ({"final_logit_softcapping": 0}, "final_logit_softcapping is 0; expected a number above 0"),
        (
            {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "sliding_attention.rope_type is 'linear'",
        ),
    ],
)
def test_gemma_that_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        read_hf("Gemma3", **keys)


def test_null_kv_heads_are_as_many_as_heads():
    assert read_hf("Mistral", num_key_value_heads=None).n_kv_heads == 32


def test_head_dim():
    assert read_hf(head_dim=64).head_dim == 64
    assert read_hf(head_dim=None).head_dim == 128
    assert read_hf(hidden_size=4095, head_dim=64).d_model == 4095
    assert read_hf("Qwen3", hidden_size=1024).head_dim == 128
    assert read_hf("Qwen3", head_dim=None).head_dim == 128


@pytest.mark.parametrize("architecture", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_biases_and_norms_by_architecture(architecture):
    config = read_hf(architecture, attention_bias=True, mlp_bias=True)
    assert config.qkv_bias == (architecture != "Mistral")
    assert config.o_bias == (architecture in ("Llama", "Qwen3"))
    assert config.mlp_bias == (architecture == "Llama")
    assert config.qk_norm == (architecture == "Qwen3")
    assert read_hf(architecture).qkv_bias == (architecture == "Qwen2")


@pytest.mark.parametrize(
    ("flag", "shapes", "tied"),
    [
        (True, {}, True),
        (True, {"lm_head.weight": (2, 2)}, True),
        (False, {}, False),
        (..., {}, True),
        (..., {"lm_head.weight": (2, 2)}, False),
    ],
)
def test_tied_embeddings(flag, shapes, tied):
    config = config_from_checkpoint(checkpoint(hf(tie_word_embeddings=flag), shapes=shapes))
    assert config.tied_embeddings is tied


@pytest.mark.parametrize(
    ("architecture", "keys", "windows"),
    [
        ("Llama", {"sliding_window": 8}, (None,) * 4),
        ("Mistral", {"sliding_window": 8}, (8,) * 4),
        ("Mistral", {"sliding_window": None}, (None,) * 4),
        ("Mistral", {"sliding_window": 8, "layer_types": ["sliding_attention"] * 4}, (8,) * 4),
        ("Qwen2", {"sliding_window": 8, "max_window_layers": 0}, (None,) * 4),
        ("Qwen2", {"sliding_window": 0}, (None,) * 4),
        (
            "Qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 3},
            (None, None, None, 8),
        ),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 8}, (None,) * 4),
        (
            "Qwen3",
            {
                "use_sliding_window": True,
                "sliding_window": 8,
                "max_window_layers": 0,
                "layer_types": ["full_attention", "sliding_attention"] * 2,
            },
            (None, 8, None, 8),
        ),
        ("Qwen3", {"layer_types": ["full_attention"] * 4, "sliding_window": None}, (None,) * 4),
    ],
)
def test_windows(architecture, keys, windows):
    assert read_hf(architecture, **keys).windows == windows


@pytest.mark.parametrize(
    ("generation", "keys", "bos", "eos"),
    [
        ({}, {"eos_token_id": [2, 7, 2]}, 1, (2, 7)),
        ({"eos_token_id": [5, 6]}, {}, 1, (5, 6)),
        ({"eos_token_id": 5, "bos_token_id": 3}, {}, 3, (5,)),
        ({"eos_token_id": None}, {"eos_token_id": 9}, 1, (9,)),
        ({}, {"eos_token_id": None, "bos_token_id": None}, None, ()),
        ({}, {"eos_token_id": [2, 32000]}, 1, (2,)),
    ],
)
def test_special_ids(generation, keys, bos, eos):
    config = config_from_checkpoint(checkpoint(hf(**keys), generation))
    assert (config.bos_id, config.eos_ids) == (bos, eos)


# ---- rotary embeddings ----

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"factor": 4.0, "original_max_position_embeddings": 1024}


@pytest.mark.parametrize(
    ("keys", "theta", "scaling", "max_seq_len"),
    [
        ({"rope_theta": 500000}, 5e5, None, 4096),
        ({"rope_theta": 5e5, "rope_scaling": None}, 5e5, None, 4096),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, 1e6, None, 4096),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, 1e4, LinearScaling(2.0), 8192),
        (
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            1e4,
            DynamicScaling(2.0, 4096),
            8192,
        ),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e4}},
            5e4,
            LinearScaling(2.0),
            8192,
        ),
        (
            {
                "rope_theta": 5e5,
                "rope_scaling": LLAMA3
                | {"rope_type": "llama3", "original_max_position_embeddings": 1024},
            },
            5e5,
            Llama3Scaling(8.0, 1.0, 4.0, 1024),
            4096,
        ),
        (
            {"rope_scaling": LLAMA3 | {"rope_type": "llama3"}},
            1e4,
            Llama3Scaling(8.0, 1.0, 4.0, 4096),
            4096,
        ),
        (
            {"rope_scaling": YARN | {"type": "yarn"}},
            1e4,
            YarnScaling(4.0, 1024, yarn_attention_factor(4.0)),
            4096,
        ),
        (
            {"max_position_embeddings": 1024, "rope_scaling": YARN | {"type": "yarn"}},
            1e4,
            YarnScaling(4.0, 1024, yarn_attention_factor(4.0)),
            4096,
        ),
        (
            {"rope_scaling": YARN | {"type": "yarn", "factor": None}},
            1e4,
            YarnScaling(4.0, 1024, yarn_attention_factor(4.0)),
            4096,
        ),
        (
            {
                "original_max_position_embeddings": 2048,
                "rope_scaling": YARN
                | {
                    "rope_type": "yarn",
                    "beta_fast": 16,
                    "beta_slow": 2,
                    "attention_factor": 0.5,
                    "truncate": False,
                },
            },
            1e4,
            YarnScaling(4.0, 2048, 0.5, 16.0, 2.0, False),
            8192,
        ),
        (
            {"rope_scaling": YARN | {"rope_type": "yarn", "mscale": 1.0, "mscale_all_dim": 0.5}},
            1e4,
            YarnScaling(4.0, 1024, yarn_attention_factor(4.0, 1.0, 0.5)),
            4096,
        ),
    ],
)
def test_rope_spellings(keys, theta, scaling, max_seq_len):
    config = read_hf(**keys)
    assert config.rope == RopeConfig(theta, "half", scaling)
    assert config.max_seq_len == max_seq_len


# ---- refused ----


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM.*LlamaForCausalLM"),
        ({"architectures": ["LlamaForCausalLM", "X"]}, "architectures is .*expected one of"),
        ({"architectures": "LlamaForCausalLM"}, "architectures is 'LlamaForCausalLM'"),
        ({"architectures": [["LlamaForCausalLM"]]}, "architectures"),
        ({"architectures": ..., "model_type": "gpt_neox"}, "model_type is 'gpt_neox'.*llama"),
        ({"architectures": ..., "model_type": ...}, "lacks architectures"),
        ({"architectures": ..., "model_type": ["llama"]}, "model_type"),
        ({"hidden_size": ...}, "lacks hidden_size; expected a whole number"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": -4096}, "hidden_size is -4096; expected a whole number from 1 to"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": 4096.0}, "hidden_size is 4096.0"),
        ({"hidden_size": "4096"}, "hidden_size is '4096'"),
        ({"hidden_size": True}, "hidden_size is True"),
        ({"hidden_size": 10**30}, "hidden_size is 1000"),
        ({"hidden_size": 4100}, "hidden_size is 4100; expected a multiple of num_attention_heads"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000"),
        ({"num_attention_heads": [32]}, "num_attention_heads is"),
        ({"num_key_value_heads": 64}, "num_key_value_heads is 64.*from 1 to 32"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"num_key_value_heads": 5}, "32 query heads cannot share 5"),
        ({"head_dim": 65}, "head width is 65"),
        ({"head_dim": -2}, "head_dim is -2"),
        ({"hidden_size": 32 * 65}, "head width is 65"),
        ({"intermediate_size": -1}, "intermediate_size is -1"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; expected one of silu"),
        ({"hidden_act": 3}, "hidden_act is 3"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps is '1e-5'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps is 1000"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0"),
        ({"max_position_embeddings": 2**40}, "max_position_embeddings"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'; expected true or false"),
        ({"attention_bias": 1}, "attention_bias is 1"),
        ({"mlp_bias": "no"}, "mlp_bias is 'no'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is .*not supported"),
        ({"num_local_experts": 8}, "num_local_experts is 8"),
        ({"no_rope_layers": [1, 0]}, "no_rope_layers"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; expected 1"),
        ({"bos_token_id": 32000}, "bos_token_id is 32000"),
        ({"bos_token_id": -1}, "bos_token_id is -1"),
        ({"eos_token_id": [2, "3"]}, "eos_token_id is .*a token id"),
        ({"eos_token_id": 2.0}, "eos_token_id is 2.0"),
        ({"eos_token_id": {"id": 2}}, "eos_token_id"),
        ({"rope_theta": 0}, "rope_theta is 0"),
        ({"rope_theta": 1}, "rope_theta is 1; expected a number above 1"),
        ({"rope_theta": "10000"}, "rope_theta is '10000'"),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear'; expected an object"),
        ({"rope_scaling": {"factor": 2.0}}, "lacks rope_scaling.rope_type"),
        ({"rope_scaling": {"type": "ntk", "factor": 2.0}}, "'ntk'.*yarn, llama3"),
        ({"rope_scaling": {"type": "linear"}}, "lacks rope_scaling.factor"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "rope_scaling.factor is 0.5"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "mrope": []}}, "rope_scaling.mrope"),
        (
            {
                "rope_scaling": {
                    "type": "dynamic",
                    "factor": 2,
                    "original_max_position_embeddings": 100,
                }
            },
            "original_max_position_embeddings is 100",
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2}, "head_dim": 2},
            "head width is 2; dynamic",
        ),
        ({"rope_scaling": LLAMA3 | {"rope_type": "llama3", "factor": 0}}, "factor is 0"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor"),
        (
            {"rope_scaling": LLAMA3 | {"rope_type": "llama3", "high_freq_factor": 1.0}},
            "high_freq_factor is 1.0; expected a number above low_freq_factor",
        ),
        ({"rope_scaling": YARN | {"type": "yarn", "beta_fast": 0.5}}, "beta_fast is 0.5"),
        ({"rope_scaling": YARN | {"type": "yarn", "truncate": 1}}, "truncate is 1"),
        ({"rope_scaling": {"type": "yarn"}}, "lacks rope_scaling.factor"),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
            "rope_parameters.full_attention",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}},
            "rope_parameters.partial_rotary_factor is 0.25",
        ),
    ],
)
def test_refused(keys, said):
    with pytest.raises(ConfigError, match=said) as caught:
        read_hf(**keys)
    message = str(caught.value)
    assert message.startswith("model: ") and "\n" not in message and len(message) < 500


@pytest.mark.parametrize(
    ("architecture", "keys", "said"),
    [
        ("Mistral", {"sliding_window": 0}, "sliding_window is 0"),
        ("Mistral", {"sliding_window": "all"}, "sliding_window is 'all'"),
        (
            "Mistral",
            {"layer_types": ["full_attention", "sliding_attention"] * 2},
            "layer_types is .*every Mistral layer",
        ),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": -1}, "sliding_window is -1"),
        ("Qwen2", {"max_window_layers": -1}, "max_window_layers is -1"),
        ("Qwen3", {"layer_types": ["full_attention"]}, "layer_types is .*a list of 4"),
        ("Qwen3", {"layer_types": ["chunked_attention"] * 4}, "layer_types"),
        ("Qwen3", {"layer_types": [["full_attention"]] * 4}, "layer_types"),
        ("Qwen3", {"layer_types": ["sliding_attention"] * 4}, "use_sliding_window"),
        ("Qwen3", {"num_experts": 128}, "num_experts is 128"),
    ],
)
def test_refused_by_architecture(architecture, keys, said):
    with pytest.raises(ConfigError, match=said):
        read_hf(architecture, **keys)


def test_values_of_any_depth_are_named_shortly():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ConfigError, match="hidden_size is ") as caught:
        read_hf(hidden_size=deep)
    assert len(str(caught.value)) < 500


# ---- Meta and llama2.c ----


def test_meta_llama2():
    config = read_meta()
    assert config.architecture == "llama"
    assert (config.vocab_size, config.d_model, config.n_layers, config.d_ff) == (
        32000,
        4096,
        32,
        11008,
    )
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (32, 32, 128)
    assert config.rope == RopeConfig(10000.0, "adjacent", None)
    assert not config.tied_embeddings
    assert (config.bos_id, config.eos_ids) == (None, ())


@pytest.mark.parametrize(
    ("keys", "length"),
    [
        ({"norm_eps": 1e-6}, 2048),
        ({"n_layers": 80, "dim": 8192, "n_heads": 64}, 2048),
        ({}, 4096),
        ({"n_layers": 80, "dim": 8192, "n_heads": 64, "n_kv_heads": 8}, 4096),
        ({"rope_theta": 1000000}, 16384),
        ({"rope_theta": 500000.0, "n_kv_heads": 8}, 8192),
        ({"rope_theta": 500000.0, "n_kv_heads": 8, "use_scaled_rope": True}, 131072),
        ({"rope_theta": 500000.0, "max_seq_len": 512}, 512),
    ],
)
def test_meta_context_length(keys, length):
    assert read_meta(**keys).max_seq_len == length


@pytest.mark.parametrize(
    ("keys", "scaling"),
    [
        ({}, None),
        ({"use_scaled_rope": False}, None),
        ({"use_scaled_rope": True}, Llama3Scaling(8.0, 1.0, 4.0, 8192)),
        ({"use_scaled_rope": True, "dim": 2048}, Llama3Scaling(32.0, 1.0, 4.0, 8192)),
        (
            {"use_scaled_rope": True, "rope_scaling_factor": 16, "rope_high_freq_factor": 2},
            Llama3Scaling(16.0, 1.0, 2.0, 8192),
        ),
        (
            {"use_scaled_rope": True, "scale_factor": 4, "old_context_len": 32},
            Llama3Scaling(4.0, 1.0, 4.0, 32),
        ),
    ],
)
def test_meta_scaling(keys, scaling):
    assert read_meta(**keys).rope.scaling == scaling


def test_meta_tied_where_there_is_no_output_matrix():
    shapes = {name: shape for name, shape in META_SHAPES.items() if name != "output.weight"}
    assert read_meta(shapes=shapes).tied_embeddings


def test_llama2c():
    config = read_meta(
        "llama2c",
        dim=64,
        hidden_dim=172,
        n_heads=8,
        n_kv_heads=4,
        vocab_size=512,
        max_seq_len=256,
        tied=True,
    )
    assert (config.d_ff, config.head_dim, config.vocab_size, config.max_seq_len) == (
        172,
        8,
        512,
        256,
    )
    assert config.tied_embeddings and config.rope.pairing == "adjacent"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"dim": ...}, "lacks dim"),
        ({"dim": 4097}, "dim is 4097; expected a multiple of n_heads"),
        ({"dim": -1}, "dim is -1"),
        ({"n_layers": "32"}, "n_layers is '32'"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"n_kv_heads": 33}, "n_kv_heads is 33"),
        ({"n_kv_heads": 3}, "cannot share 3"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": -2}, "vocab_size is -2"),
        ({"norm_eps": 0}, "norm_eps is 0"),
        ({"rope_theta": -5}, "rope_theta is -5"),
        ({"use_scaled_rope": 1}, "use_scaled_rope is 1"),
        ({"use_scaled_rope": True, "scale_factor": 0.1}, "scale_factor is 0.1"),
        ({"use_scaled_rope": True, "high_freq_factor": 1}, "high_freq_factor is 1"),
        ({"quantization_args": {"group_size": 32}}, "quantization_args"),
        ({"moe": {"num_experts": 8}}, "moe is"),
        ({"vision_chunk_size": 448}, "vision_chunk_size is 448"),
    ],
)
def test_meta_refused(keys, said):
    with pytest.raises(ConfigError, match=said):
        read_meta(**keys)


@pytest.mark.parametrize("name", ["tok_embeddings.weight", "layers.0.feed_forward.w1.weight"])
def test_meta_needs_the_tensors_that_sizes_come_from(name):
    with pytest.raises(ConfigError, match=f"{name} is missing"):
        read_meta(shapes={n: s for n, s in META_SHAPES.items() if n != name})
    with pytest.raises(ConfigError, match=f"{name} has shape"):
        read_meta(shapes=META_SHAPES | {name: (7,)})
