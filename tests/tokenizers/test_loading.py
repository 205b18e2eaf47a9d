"""Which file is taken, and that its content decides what it is."""

import shutil

import pytest

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import load_tokenizer
from cl_llama.tokenizers.hf import HfTokenizer
from cl_llama.tokenizers.llama2c import Llama2cTokenizer
from cl_llama.tokenizers.sentencepiece import SentencePieceTokenizer
from cl_llama.tokenizers.tiktoken import TiktokenTokenizer

KINDS = {
    "small.model": SentencePieceTokenizer,
    "small.bin": Llama2cTokenizer,
    "small.tiktoken": TiktokenTokenizer,
    "small-bytelevel.json": HfTokenizer,
    "small-bytelevel.gguf": HfTokenizer,
    "small-spm.gguf": SentencePieceTokenizer,
}


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json", "tokenizer.bin", "any name"])
def test_content_decides_the_kind(small_files, tmp_path, source, name):
    shutil.copy(small_files / source, tmp_path / name)
    assert type(load_tokenizer(tmp_path / name)) is KINDS[source]
    assert type(load_tokenizer(str(tmp_path / name))) is KINDS[source]


def test_order_in_a_folder(small_files, tmp_path):
    order = ["tokenizer.bin", "tokenizer.model", "tokenizer.json"]
    for name, source in zip(order, ["small.bin", "small.model", "small-spm.json"], strict=True):
        shutil.copy(small_files / source, tmp_path / name)
        assert type(load_tokenizer(tmp_path)) is KINDS.get(source, HfTokenizer)


def test_a_gguf_model_in_a_folder(small_files, tmp_path):
    shutil.copy(small_files / "small-spm.gguf", tmp_path / "model.gguf")
    assert type(load_tokenizer(tmp_path)) is SentencePieceTokenizer
    shutil.copy(small_files / "small-spm.gguf", tmp_path / "other.gguf")
    with pytest.raises(TokenizerError, match="2 GGUF models in this folder"):
        load_tokenizer(tmp_path)
    shutil.copy(small_files / "small-spm.json", tmp_path / "tokenizer.json")
    assert type(load_tokenizer(tmp_path)) is HfTokenizer


def test_a_damaged_first_choice_is_an_error(small_files, tmp_path):
    shutil.copy(small_files / "small.model", tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_no_tokenizer(tmp_path):
    with pytest.raises(
        TokenizerError, match=r"looked for tokenizer\.json, tokenizer\.model, token"
    ):
        load_tokenizer(tmp_path)
    with pytest.raises(
        TokenizerError, match="expected a tokenizer file or a folder, found neither"
    ):
        load_tokenizer(tmp_path / "missing")
    with pytest.raises(TokenizerError, match="found neither"):
        load_tokenizer("a\x00b")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"\x93NUMPY\x01\x00", "8 bytes of an unknown kind that start with 93 4e 55"),
        (b"hello, this is no tokenizer", "27 bytes of an unknown kind"),
    ],
)
def test_other_files(tmp_path, content, what):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(TokenizerError, match=f"tokenizer.model: expected a tokenizer.*got {what}"):
        load_tokenizer(tmp_path)


def test_a_model_file_is_no_tokenizer(shared_data):
    with pytest.raises(TokenizerError):
        load_tokenizer(shared_data("stories260K.bin"))
