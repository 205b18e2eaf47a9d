"""The embedded model's folder is complete, small and says what it holds."""

import json

import numpy as np
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor

from cl_llama.demo import model_path

CONFIG = json.loads((model_path() / "config.json").read_text())


def test_at_most_six_megabytes() -> None:
    assert sum(path.stat().st_size for path in model_path().glob("*.*")) <= 6_000_000


def test_weights_are_finite_float16_of_the_shapes_in_the_config() -> None:
    tensors = load_file(model_path() / "model.safetensors")
    D, F, V = (CONFIG[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    kv = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    assert tensors["model.embed_tokens.weight"].shape == (V, D)
    assert tensors["model.layers.0.self_attn.k_proj.weight"].shape == (kv, D)
    assert tensors["model.layers.0.mlp.down_proj.weight"].shape == (D, F)
    assert len(tensors) == 2 + 9 * CONFIG["num_hidden_layers"]
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float16, name
        assert np.isfinite(tensor).all(), name


def test_tokenizer_is_the_models_own() -> None:
    tokenizer = SentencePieceProcessor(model_file=str(model_path() / "tokenizer.model"))
    assert tokenizer.vocab_size() == CONFIG["vocab_size"]
    assert tokenizer.bos_id() == CONFIG["bos_token_id"]
    assert tokenizer.eos_id() == CONFIG["eos_token_id"]
    for text in ("Once upon a time", "The dragon said: “1024 crêpes”!", "龙\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
