"""One small tokenizer of every kind, made here, and the real ones where the test data lies."""

import json
from pathlib import Path

import pytest

from cl_llama.tokenizers import load_tokenizer
from tests.gguf_writer import write_gguf
from tests.tokenizers.small_files import (
    bytelevel_gguf,
    bytelevel_json,
    llama2c_file,
    sentencepiece_model,
    spm_gguf,
    spm_json,
    tiktoken_file,
)

REAL = {
    "tok512.model": "tok512.model",
    "tok512.bin": "tok512.bin",
    "llama2": "llama2_tokenizer.model",
    "llama3": "llama3_tokenizer.model",
    "tinyllama.json": "tinyllama-chat/tokenizer.json",
    "llama2.gguf": "gguf/ggml-vocab-llama-spm.gguf",
}
SMALL = (
    "small.model",
    "small.bin",
    "small.tiktoken",
    "small-bytelevel.json",
    "small-spm.json",
    "small-bytelevel.gguf",
    "small-spm.gguf",
)


@pytest.fixture(scope="session")
def small_files(tmp_path_factory) -> Path:
    """A folder with a tokenizer file of every kind, each of a few hundred tokens."""
    folder = tmp_path_factory.mktemp("tokenizers")
    model = sentencepiece_model()
    (folder / "small.model").write_bytes(model)
    (folder / "small.bin").write_bytes(llama2c_file(model))
    (folder / "small.tiktoken").write_bytes(tiktoken_file())
    (folder / "small-bytelevel.json").write_text(json.dumps(bytelevel_json()))
    (folder / "small-spm.json").write_text(json.dumps(spm_json()))
    write_gguf(folder / "small-bytelevel.gguf", bytelevel_gguf())
    write_gguf(folder / "small-spm.gguf", spm_gguf(model))
    return folder


@pytest.fixture(scope="session")
def loaded(small_files, shared_data):
    """Loads a tokenizer by its name in `SMALL` or `REAL`, each of them once."""
    cache = {}

    def load(name):
        if name not in cache:
            path = shared_data(REAL[name]) if name in REAL else small_files / name
            cache[name] = load_tokenizer(path)
        return cache[name]

    return load


@pytest.fixture(params=[*SMALL, *REAL])
def tokenizer(request, loaded):
    """Every tokenizer there is, in turn."""
    return loaded(request.param)
