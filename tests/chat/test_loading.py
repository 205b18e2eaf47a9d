"""The template of a model that is being loaded: from its files, or by the kind of its tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cl_llama.chat import load_chat_template
from cl_llama.chat.builtin import BUILTIN
from cl_llama.checkpoints import Checkpoint, open_checkpoint
from cl_llama.tokenizers import load_tokenizer
from tests.tokenizers.small_files import sentencepiece_model, tiktoken_file


def checkpoint(path: Path, form: str) -> Checkpoint:
    return Checkpoint(path, form, {}, {}, {}, None, ())


@pytest.fixture
def tokenizer_file(tmp_path) -> Path:
    file = tmp_path / "elsewhere" / "tokenizer.model"
    file.parent.mkdir()
    file.write_bytes(sentencepiece_model())
    return file


def load(wanted: str | None, model: Checkpoint, tokenizer: Path):
    return load_chat_template(wanted, model, load_tokenizer(tokenizer), tokenizer)


@pytest.mark.parametrize("name", ["llama2", "llama3"])
def test_a_meta_checkpoint_gets_a_built_in_one(tmp_path, tokenizer_file, name):
    if name == "llama3":
        tokenizer_file.write_bytes(tiktoken_file())
    found = load(None, checkpoint(tmp_path, "meta"), tokenizer_file)
    assert found._templates == {"default": BUILTIN[name]}
    tokens = {"llama2": ("<s>", "</s>"), "llama3": ("<|begin_of_text|>", "<|end_of_text|>")}
    assert tuple(found._special_tokens.values()) == tokens[name]
    assert load("T{{ 1 }}", checkpoint(tmp_path, "meta"), tokenizer_file)._templates == {
        "default": "T{{ 1 }}"
    }


def test_a_gguf_file_has_them_in_its_metadata(tmp_path, tokenizer_file):
    (tmp_path / "chat_template.jinja").write_text("of another model")
    metadata = {
        "tokenizer.chat_template": "T",
        "tokenizer.chat_template.tool_use": "with tools",
        "tokenizer.chat_templates": ["tool_use"],
        "general.name": "tokenizer.chat_template",
    }
    model = replace(checkpoint(tmp_path / "model.gguf", "gguf"), config=metadata)
    found = load(None, model, tokenizer_file)
    assert found._templates == {"default": "T", "tool_use": "with tools"}
    assert found._special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}


def test_a_gguf_file_without_them_is_a_base_model(shared_data):
    path = shared_data("gguf/llama-2-tiny-random.gguf")
    with open_checkpoint(path) as model:
        assert load(None, model, model.tokenizer_path) is None


def test_files_beside_the_tokenizer_come_before_those_beside_the_model(tmp_path, tokenizer_file):
    model = checkpoint(tmp_path / "model.safetensors", "hf")
    assert load(None, model, tokenizer_file) is None
    config = {"chat_template": "model", "eos_token": "<end>", "pad_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    beside = tokenizer_file.with_name("special_tokens_map.json")
    beside.write_text('{"eos_token": {"content": "<eos>"}, "bos_token": null}')
    found = load(None, model, tokenizer_file)
    assert found._templates == {"default": "model"}
    assert found._special_tokens == {"eos_token": "<eos>", "pad_token": "</s>"}
    tokenizer_file.with_name("chat_template.jinja").write_text("tokenizer")
    assert load(None, model, tokenizer_file)._templates == {"default": "tokenizer"}
