"""Models written as GGUF files: read back, they say what the original says."""

import itertools
import json
import shutil

import numpy as np
import pytest

from cl_llama import Llama, SamplingParams
from cl_llama.blocks import FORMATS
from cl_llama.blocks import quantize as quantise
from cl_llama.checkpoints import open_checkpoint
from cl_llama.convert import values
from cl_llama.convert.model import convert_model
from cl_llama.demo import model_path
from cl_llama.errors import CheckpointError, ConfigError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.quantization import QUANTIZATIONS, choose_formats
from cl_llama.models.weights import map_tensors, named_parts
from tests import reference
from tests.checkpoints.checkpoint_files import llama2c_bytes, meta_tensors
from tests.models.fixture_models import FIXTURES

WIDE = {
    "dim": 256,
    "hidden_dim": 160,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 40,
    "max_seq_len": 32,
}
IDS = [1, 17, 5, 9, 2, 44, 30, 8, 8, 21]


def write_wide(path, tensors):
    path.write_bytes(llama2c_bytes(tensors, config=WIDE))
    return path


def logits(path):
    """The reference's, of matrices in f16."""
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    return reference.logits(config, weights, IDS)


@pytest.mark.parametrize(
    "name",
    [
        "llama-biases",  # q and k are in another rotary order there, their biases too
        "llama31-scaled",
        "meta-llama2",
        "mistral-window",
        "qwen3-qk-norm",
        "rope-linear",
        "rope-yarn",
        "smollm-tied-9-3",
        "gemma2",
        "gemma3",
        "granite",
        "olmo2",
        "phi3",
        "gpt2",
        "gpt2-untied",
    ],
)
def test_the_same_logits(tmp_path, monkeypatch, name):
    monkeypatch.setattr(values, "_PIECE_VALUES", 100)  # a few heads' rows at a time
    target = tmp_path / "model.gguf"
    convert_model(FIXTURES / name, target)
    expected = logits(FIXTURES / name)
    # frequencies and factors are float32 in the file
    assert reference.relative_rms(logits(target), expected) < 1e-5
    with open_checkpoint(FIXTURES / name) as original, open_checkpoint(target) as converted:
        before, after = config_from_checkpoint(original), config_from_checkpoint(converted)
    for field in ("max_seq_len", "windows", "tied_embeddings", "head_dim", "vocab_size"):
        assert getattr(after, field) == getattr(before, field), field


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("qwen2-upper-windows", "only some layers have an attention window"),
        ("rope-dynamic", "no key for dynamic rotary scaling"),
    ],
)
def test_what_gguf_has_no_place_for(tmp_path, name, problem):
    with pytest.raises(ConfigError, match=problem):
        convert_model(FIXTURES / name, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"query_pre_attn_scalar": 64}, "no key for query_pre_attn_scalar"),
        ({"attn_logit_softcapping": None}, "so must attn_logit_softcapping"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "only some layers"),
    ],
)
def test_gemmas_that_gguf_has_no_place_for(tmp_path, keys, problem):
    source = tmp_path / "model"
    shutil.copytree(FIXTURES / "gemma2", source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | keys))
    with pytest.raises(ConfigError, match=problem):
        convert_model(source, tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == [source]


def test_quantised_parts_of_one_tensor(tmp_path):
    """Phi-3's stacked matrices: rows of each are the blocks of the original's."""
    target = tmp_path / "model.gguf"
    convert_model(FIXTURES / "phi3", target, quantize="q8_0")
    with open_checkpoint(FIXTURES / "phi3") as original, open_checkpoint(target) as converted:
        found = converted.tensors["blk.1.attn_qkv.weight"]
        whole = original.tensors["model.layers.1.self_attn.qkv_proj.weight"]
        rows = whole.read_rows(0, whole.shape[0])
        assert found.format == "q8_0"
        np.testing.assert_array_equal(found.read_blocks(0, whole.shape[0]), quantise("q8_0", rows))


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_quantised_values(tmp_path, quantize):
    """Every matrix holds the blocks of the original's values, but for the order of q and k."""
    model = write_wide(tmp_path / "model.bin", meta_tensors(WIDE))
    target = tmp_path / "model.gguf"
    convert_model(model, target, quantize=quantize)
    with open_checkpoint(model) as original, open_checkpoint(target) as converted:
        config = config_from_checkpoint(original)
        before = map_tensors(config, original)
        after = map_tensors(config_from_checkpoint(converted), converted)
        chosen = choose_formats(before, quantize)
        found = {}
        for (_, _, a), (part, _, b) in zip(
            named_parts(config, before, "gguf"), named_parts(config, after, "gguf"), strict=True
        ):
            assert b.format == chosen.get(a.name, "f32"), part
            found.setdefault(part, []).append(b.format)
            values = a.read_rows(0, a.shape[0])
            if b.format in FORMATS:
                np.testing.assert_array_equal(
                    b.read_blocks(0, b.shape[0]), quantise(b.format, values)
                )
            else:
                dtype = {"f32": np.float32, "f16": np.float16}[b.format]
                np.testing.assert_array_equal(b.read_rows(0, b.shape[0]), values.astype(dtype))
    base = {"q8_0": "q8_0", "q4_0": "q4_0", "q4_k": "q4_k"}[quantize]
    more = "q8_0" if quantize == "q8_0" else "q6_k"
    assert found["embedding"] == [base] and found["output"] == [more]
    assert found["q"] == [base] * 3 and found["attn_norm"] == ["f32"] * 3
    # rows of 160 values are no whole blocks of 256
    down = {"q8_0": ["q8_0"] * 3, "q4_0": ["q4_0"] * 3, "q4_k": ["q5_0", "q5_0", "q8_0"]}
    assert found["down"] == down[quantize]


def test_a_value_that_no_format_holds(tmp_path):
    tensors = meta_tensors(WIDE)
    tensors["layers.1.attention.wo.weight"][3, 5] = 7e4
    model = write_wide(tmp_path / "model.bin", tensors)
    for quantize in (None, "q8_0"):
        with pytest.raises(CheckpointError, match=r"layers\.1\.attention\.wo.*70000"):
            convert_model(model, tmp_path / "model.gguf", quantize=quantize)
    assert list(tmp_path.iterdir()) == [model]


def test_llama_cpp_continues_alike(tmp_path):
    """The same greedy tokens from a trained model's file, in f16."""
    llama_cpp = pytest.importorskip("llama_cpp")
    target = tmp_path / "model.gguf"
    convert_model(model_path(), target)
    with Llama.from_pretrained(model_path()) as ours:
        ids = ours.tokenizer.encode("Once upon a time")
        expected = ours.generate(ids, SamplingParams(max_new_tokens=24, temperature=0.0))
    theirs = llama_cpp.Llama(str(target), n_ctx=64, n_threads=2, verbose=False)
    assert theirs.tokenize(b"Once upon a time", add_bos=True) == ids
    generated = list(itertools.islice(theirs.generate(ids, top_k=1, temp=0.0), 24))
    assert generated == expected.token_ids
