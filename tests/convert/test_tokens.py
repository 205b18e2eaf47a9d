"""Vocabularies written into GGUF files: read back, they cut texts into the same tokens."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cl_llama.checkpoints.gguf_writer import write_gguf
from cl_llama.convert.token_sources import read_tokens
from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import load_tokenizer
from tests.tokenizers.conftest import REAL
from tests.tokenizers.small_files import (
    bytelevel_json,
    gemma_json,
    gemma_model,
    llama2c_file,
    sentencepiece_model,
    spm_json,
    tiktoken_file,
)

TEXTS = [
    "Once upon a time there was a little girl named Lily.",
    "hello world, hello  two   spaces\n\nand lines\t",
    "the thé 日本語 ñ 12345 don't I'LL",
    " leading",
    "<s> and </s> <|end_of_text|> are plain text",
    "<start_of_turn>user\nWhat  now?<end_of_turn>\n",
    "",
]
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def llama3_json() -> dict:
    made = bytelevel_json()
    made["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": LLAMA3_SPLIT}
    return made


SMALL = {
    "sentencepiece": sentencepiece_model,
    "llama2c": lambda: llama2c_file(sentencepiece_model()),
    "tiktoken": tiktoken_file,
    "bytelevel": lambda: json.dumps(llama3_json()).encode(),
    "spm.json": lambda: json.dumps(spm_json()).encode(),
    "gemma": gemma_model,
    "gemma.json": lambda: json.dumps(gemma_json()).encode(),
}


def there_and_back(path: Path, tmp_path: Path):
    before = load_tokenizer(path)
    target = tmp_path / "vocabulary.gguf"
    entries = read_tokens(before, path).metadata(before.vocab_size + 3)
    with target.open("wb") as file:
        write_gguf(file, {"general.architecture": "llama"} | entries, [])
    return before, load_tokenizer(target)


@pytest.mark.parametrize("name", [*SMALL, *REAL])
def test_the_same_tokens(tmp_path, shared_data, name):
    if name in SMALL:
        path = tmp_path / "tokenizer"
        path.write_bytes(SMALL[name]())
    else:
        path = shared_data(REAL[name])
    before, after = there_and_back(path, tmp_path)
    assert after.vocab_size == before.vocab_size + 3
    assert (after.bos_id, after.eos_id, after.adds_bos) == (
        before.bos_id,
        before.eos_id,
        before.adds_bos,
    )
    # tok512.model takes repeated spaces out, for which GGUF has no place
    for text in TEXTS[:1] if name == "tok512.model" else TEXTS:
        for special in (False, True):
            ids = before.encode(text, special=special)
            assert after.encode(text, special=special) == ids, text
            assert after.decode(ids) == before.decode(ids)


@pytest.mark.parametrize("name", ["gemma", "gemma.json"])
def test_gemmas_turns(tmp_path, name):
    """A turn's end ends a text; the symbols around turns are tokens, and no space comes first."""
    path = tmp_path / "tokenizer"
    path.write_bytes(SMALL[name]())
    for tokenizer in there_and_back(path, tmp_path):
        ids = tokenizer.encode("<start_of_turn>a b<end_of_turn>", special=True)
        pieces = [tokenizer.piece(i) for i in ids]
        assert pieces[:2] == ["<bos>", "<start_of_turn>"] and pieces[-1] == "<end_of_turn>"
        assert "".join(pieces[2:-1]) == "a▁b" and ids[-1] in tokenizer.eos_ids
        assert tokenizer.piece(tokenizer.eos_id) == "<eos>" and tokenizer.adds_bos
        assert tokenizer.decode(tokenizer.encode("a  é\n")) == "a  é\n"


def test_a_turns_end_that_no_key_names(tmp_path):
    path, target = tmp_path / "tokenizer", tmp_path / "vocabulary.gguf"
    path.write_bytes(gemma_model())
    tokens = replace(read_tokens(load_tokenizer(path), path), end_ids=(1,))
    with target.open("wb") as file:
        write_gguf(file, tokens.metadata(len(tokens.pieces)), [])
    ends = [tokens.pieces[i] for i in load_tokenizer(target).eos_ids]
    assert ends == ["<eos>", "<end_of_turn>"]


def test_an_unknown_way_to_split(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(bytelevel_json()))
    with pytest.raises(TokenizerError, match="no name is known for the way"):
        read_tokens(load_tokenizer(path), path)
