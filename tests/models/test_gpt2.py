"""GPT-2's configuration and tensors; its logits are tested with those of the other fixtures."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cl_llama.checkpoints import open_checkpoint
from cl_llama.checkpoints.checkpoint import Checkpoint
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import CheckpointError, ConfigError, RequestError
from cl_llama.llm import Llama
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.loading import load_model
from cl_llama.models.memory import weight_bytes
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Runtime
from tests import reference
from tests.checkpoints.checkpoint_files import torch_records, write_zip
from tests.gguf_writer import as_gguf, write_gguf
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES


def read(**keys):
    values = {"model_type": "gpt2"} | keys
    return config_from_checkpoint(Checkpoint(Path("model"), "hf", values, {}, {}, None, ()))


def test_absent_keys_are_gpt2_small():
    config = read()
    assert (config.d_model, config.n_layers, config.n_heads, config.head_dim) == (768, 12, 12, 64)
    assert (config.d_ff, config.max_seq_len, config.vocab_size) == (3072, 1024, 50257)
    assert (config.norm_eps, config.rope, config.tied_embeddings) == (1e-5, None, True)
    assert (config.bos_id, config.eos_ids) == (50256, (50256,))
    assert weight_bytes(config) == 249_122_304  # 124,439,808 values, 121,344 of them f32


def test_gpt2_xl():
    config = read(architectures=["GPT2LMHeadModel"], n_embd=1600, n_layer=48, n_head=25)
    assert (config.head_dim, config.d_ff, config.n_kv_heads) == (64, 6400, 25)
    assert read(n_inner=None, n_embd=1600, n_head=25).d_ff == 6400


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"activation_function": "relu"},
            "activation_function is 'relu'; expected one of gelu_new",
        ),
        ({"n_head": 7}, r"n_embd.* expected a multiple of n_head \(7\)"),
        ({"n_positions": 0}, "n_positions is 0"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False; expected true"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"n_embd": 36}, "head width is 3"),
    ],
)
def test_what_is_not_supported(keys, message):
    with pytest.raises(ConfigError, match=message):
        read(**keys)


@pytest.fixture(params=["gpt2", "gpt2-untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A fixture's copy."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


def test_stored_as_pytorch(folder: Path):
    """The same values from pytorch_model.bin; masks are in the file and no one asks for them."""
    with open_checkpoint(folder) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        stored = {
            name: tensor.read_rows(0, tensor.shape[0]).astype(np.float32)
            for name, tensor in checkpoint.tensors.items()
            if ".attn.bias" not in name and "masked" not in name
        }
        prefix = "transformer." if "transformer.wte.weight" in stored else ""
        c_attn = stored[f"{prefix}h.1.attn.c_attn.weight"]
        stored[f"{prefix}h.1.attn.bias"] = np.ones((1, 1, 64, 64), np.float32)
    (folder / "model.safetensors").unlink()
    write_zip(folder / "pytorch_model.bin", torch_records(stored, "f32"), "archive")
    with open_checkpoint(folder) as checkpoint:
        tensors = map_tensors(config, checkpoint)
        layer = tensors.layers[1]
        for i, matrix in enumerate((layer.q, layer.k, layer.v)):
            expected = c_attn[:, i * 48 : (i + 1) * 48].T
            np.testing.assert_array_equal(matrix.read_rows(0, 48), expected)
            np.testing.assert_array_equal(matrix.read_rows(17, 30), expected[17:30])
        bias = stored[f"{prefix}h.1.attn.c_attn.bias"]
        np.testing.assert_array_equal(layer.v_bias.read_rows(0, 48), bias[96:])
        up = stored[f"{prefix}h.1.mlp.c_fc.weight"]
        np.testing.assert_array_equal(layer.up.read_rows(0, config.d_ff), up.T)
        assert (tensors.output is tensors.embedding) == config.tied_embeddings


GGUF_NAMES = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "lm_head": "output",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


@pytest.mark.parametrize("name", ["gpt2", "gpt2-untied"])
def test_the_same_model_as_gguf(runtime: Runtime, name: str, tmp_path: Path):
    """Written as llama.cpp's converter writes it: Conv1D's matrices transposed, no masks."""
    known = fixture_models.truth(name)
    arrays = {}
    with open_checkpoint(FIXTURES / name) as source:
        for tensor in source.tensors.values():
            stem, kind = tensor.name.removeprefix("transformer.").rsplit(".", 1)
            layer = stem.split(".")[1] if stem.startswith("h.") else None
            part = stem if layer is None else stem.split(".", 2)[2]
            if part not in GGUF_NAMES:
                continue
            values = tensor.read_rows(0, tensor.shape[0])
            values = np.array(values, np.float16 if values.ndim == 2 else np.float32)
            if part.startswith(("attn.", "mlp.")):
                values = values.T.copy()
            block = "" if layer is None else f"blk.{layer}."
            arrays[f"{block}{GGUF_NAMES[part]}.{kind}"] = values
    config = known.config
    metadata = {
        "general.architecture": "gpt2",
        "gpt2.context_length": config.max_seq_len,
        "gpt2.embedding_length": config.d_model,
        "gpt2.block_count": config.n_layers,
        "gpt2.feed_forward_length": config.d_ff,
        "gpt2.attention.head_count": config.n_heads,
        "gpt2.attention.layer_norm_epsilon": config.norm_eps,
        "tokenizer.ggml.bos_token_id": config.bos_id,
    }
    path = write_gguf(tmp_path / "model.gguf", metadata, as_gguf(arrays))
    with open_checkpoint(path) as checkpoint:
        found = config_from_checkpoint(checkpoint)
        assert found == replace(config, norm_eps=found.norm_eps, eos_ids=())
        model = load_model(found, map_tensors(found, checkpoint), runtime)
    logits = fixture_models.run_and_decode(model, known)
    assert reference.relative_rms(logits, known.logits) <= 5e-5
    np.testing.assert_array_equal(logits.argmax(axis=1), known.best_ids)


def test_masks_are_no_weights():
    with open_checkpoint(FIXTURES / "gpt2") as checkpoint:
        mask = checkpoint.tensors["h.0.attn.bias"]
        assert mask.shape == (1, 1, 64, 64)
        with pytest.raises(CheckpointError, match=r"'h\.0\.attn\.bias' holds bytes"):
            mask.read_rows(0, 1)


def test_another_models_tensors(folder: Path):
    with open_checkpoint(folder) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = dict(checkpoint.tensors)
        name = next(name for name in tensors if name.endswith("h.1.ln_2.bias"))
        tensors["h.2.stranger"] = tensors.pop(name)
        changed = Checkpoint(checkpoint.path, "hf", {}, {}, tensors, None, ())
        with pytest.raises(CheckpointError, match=r"1 missing: .*ln_2\.bias; 1 left over: h\.2\.s"):
            map_tensors(config, changed)


def test_generation(device: DeviceInfo):
    known = fixture_models.truth("gpt2")
    params = SamplingParams(max_new_tokens=24, temperature=0.0, stop_token_ids=[])
    with Llama.from_pretrained(FIXTURES / "gpt2", device=device.index) as llm:
        assert llm.max_seq_len == 64
        assert llm.generate(known.ids.tolist(), params).token_ids == known.greedy.tolist()


def test_positions_that_were_not_learned():
    with pytest.raises(RequestError, match="max_seq_len is 65; this model has learned 64 pos"):
        Llama.from_pretrained(FIXTURES / "gpt2", max_seq_len=65)
