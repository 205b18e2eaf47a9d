"""vocab.json with merges.txt is the tokenizer that the same tokens make in a tokenizer.json."""

import json
from pathlib import Path

import pytest
import tokenizers

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import load_tokenizer
from tests.tokenizers.small_files import byte_alphabet

TEXTS = [
    "hello hello  hell's hello\n\n\tw\n",
    "Größe 日本語 😀 don't 1234567 !?",
    "hello<|endoftext|>hello",
    " ",
]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello"), ("æ", "Ĺ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vocabulary = {character: i for i, character in enumerate(byte_alphabet())}
    for left, right in MERGES:
        vocabulary[left + right] = len(vocabulary)
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES), ""]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("prefix_space", [False, True])
def test_it_is_the_packages_own(folder: Path, prefix_space: bool):
    if prefix_space:
        (folder / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": True}))
    tokenizer = load_tokenizer(folder)
    own = tokenizers.ByteLevelBPETokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), add_prefix_space=prefix_space
    )
    own.add_special_tokens(["<|endoftext|>"])
    for text in TEXTS:
        ids = tokenizer.encode(text, special=True)
        assert ids == own.encode(text).ids
        assert tokenizer.decode(ids, skip_special=False) == own.decode(ids, False)
    assert tokenizer.eos_ids == (262,) and tokenizer.vocab_size == 263
    assert not tokenizer.adds_bos
    assert 262 not in tokenizer.encode("<|endoftext|>")


def test_special_tokens_that_are_named(folder: Path):
    entry = {"bos_token": {"content": "hello"}, "eos_token": "<|endoftext|>"}
    (folder / "special_tokens_map.json").write_text(json.dumps(entry))
    tokenizer = load_tokenizer(folder / "vocab.json")
    assert tokenizer.bos_id == 259
    assert tokenizer.encode("hello", special=True) == [259]
    assert len(tokenizer.encode("hello")) == 1


def test_another_models(folder: Path):
    config = {"tokenizer_class": "Qwen2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerError, match=r"'Qwen2Tokenizer'.*take the model's tokenizer\.json"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("merges.txt", None, r"merges\.txt: expected a list of merges, could not read it"),
        ("merges.txt", "#version: 0.2\nh e\nh x y\n", "line 3 is 'h x y'"),
        ("merges.txt", "e h\n", "line 1 is 'e h'; expected two tokens of vocab.json"),
        ("vocab.json", '{"a": 0, ', r"vocab\.json: expected a vocab\.json, got a damaged one"),
        ("vocab.json", '{"a": 0, "b": "c"}', "expected an object of tokens and their ids"),
        ("vocab.json", '{"a": 0, "b": 99999999}', "the highest token id is 99999999"),
    ],
)
def test_damaged(folder: Path, name: str, content: str | None, message: str):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
        if name == "vocab.json":
            (folder / "merges.txt").write_text("")
    with pytest.raises(TokenizerError, match=message):
        load_tokenizer(folder)
