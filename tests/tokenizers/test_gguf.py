"""Vocabularies of GGUF files, against the tokenizers that they were made of."""

import base64
import random

import numpy as np
import pytest

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import load_tokenizer
from cl_llama.tokenizers.tiktoken import SPECIAL_NAMES
from tests.gguf_writer import write_gguf
from tests.tokenizers.small_files import (
    byte_alphabet,
    bytelevel_gguf,
    sentencepiece_model,
    spm_gguf,
)

TEXTS = [
    "hello the world\nnext  line\t",
    "Größe 日本語 한국어 😀👍🏽 e\u0301 naïve ١٢٣",
    "<|begin_of_text|><|eot_id|>x<s></s><unk>",
    "12345 it's WE'LL \r\n\n  x \u2028\u00a0\ufeff",
    " leading",
]


def llama3_metadata(path):
    """Llama 3's vocabulary as its GGUF files have it: a merge for every split of a token in two."""
    lines = path.read_bytes().splitlines()
    ranks = {base64.b64decode(line.split()[0]): rank for rank, line in enumerate(lines)}
    letters = str.maketrans({chr(i): letter for i, letter in enumerate(byte_alphabet())})

    def spelled(token):
        return token.decode("latin-1").translate(letters)

    merges = []
    for token in ranks:
        pairs = [(token[:i], token[i:]) for i in range(1, len(token))]
        pairs = [(a, b) for a, b in pairs if a in ranks and b in ranks]
        pairs.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [f"{spelled(a)} {spelled(b)}" for a, b in pairs]
    assert len(merges) == 280147  # as in the published tokenizer.json
    pieces = [*map(spelled, ranks), *SPECIAL_NAMES]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": np.array([1] * len(ranks) + [3] * 256, np.int32),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 128000,
        "tokenizer.ggml.eos_token_id": 128009,
    }


def test_llama_3(shared_data, loaded, tmp_path):
    """Every special token, every byte, and text: what Meta's own file gives."""
    meta = loaded("llama3")
    metadata = llama3_metadata(shared_data("llama3_tokenizer.model"))
    tokenizer = load_tokenizer(write_gguf(tmp_path / "model.gguf", metadata))
    assert tokenizer.vocab_size == meta.vocab_size and tokenizer.adds_bos
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (128000, (128009, 128001, 128008))
    for token_id in range(meta.vocab_size):
        assert tokenizer.token_bytes(token_id) == meta.token_bytes(token_id)
    for token_id, name in enumerate(SPECIAL_NAMES, 128000):
        assert tokenizer.encode(f"a{name}b", special=True) == meta.encode(f"a{name}b", special=True)
        assert tokenizer.encode(name, False, special=True) == [token_id]
        assert tokenizer.encode(name) == meta.encode(name)
    texts = [*TEXTS, *(chr(i) * 2 for i in range(0x250)), "\U00010348", "\ufffd"]
    lines = shared_data("corpus/wiki.test.raw").read_text(encoding="utf-8").split("\n")
    for text in texts + random.Random(5).sample(lines, 200):
        assert tokenizer.encode(text) == meta.encode(text), text


def test_added_tokens(loaded):
    """Control tokens where they are asked for, others in every text, as in a tokenizer.json."""
    made, original = loaded("small-bytelevel.gguf"), loaded("small-bytelevel.json")
    assert (made.bos_id, made.eos_ids) == (original.bos_id, original.eos_ids)
    for text in ("hello<tool>hello", "<|begin_of_text|><tool><|eot_id|>"):
        for special in (False, True):
            ids = made.encode(text, special=special)
            assert made.vocab_size - 1 in ids and made.piece(made.vocab_size - 1) == "<tool>"
            assert (made.bos_id in ids[1:]) == (special and "<|begin" in text)
            again = original.encode(text, special=special)
            assert made.decode(ids) == original.decode(again)


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("llama-bpe", ["ab", " cd", "123", "4", "'S", " \n\n", " ", " x"]),
        ("qwen2", ["ab", " cd", "1", "2", "3", "4", "'S", " \n\n", " ", " x"]),
        ("gpt-2", ["ab", " cd", "1234", "'", "S", " \n\n ", " x"]),
        ("smollm", ["ab", " cd", "1", "2", "3", "4", "'", "S", " \n\n ", " x"]),
        ("default", ["ab", " cd", "123", "4", "'", "S", " \n\n ", " x"]),
        ("tekken", ["ab", " cd", "1", "2", "3", "4", "'S", " \n\n", " ", " x"]),
    ],
)
def test_words(tmp_path, pre, words):
    """Merges that would join everything show where the words end."""
    text = "ab cd1234'S \n\n  x"
    assert "".join(words) == text
    letters = dict(zip(map(chr, range(256)), byte_alphabet(), strict=True))
    spelled = "".join(map(letters.__getitem__, text))
    spans = {spelled[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    vocab = sorted(spans | set(byte_alphabet()), key=lambda piece: (len(piece), piece))
    merges = [f"{piece[:i]} {piece[i:]}" for piece in vocab for i in range(1, len(piece))]
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": vocab,
        "tokenizer.ggml.merges": merges,
    }
    tokenizer = load_tokenizer(write_gguf(tmp_path / "model.gguf", metadata))
    ids = tokenizer.encode(text)
    assert [tokenizer.token_bytes(i).decode() for i in ids] == words
    assert not tokenizer.adds_bos and tokenizer.bos_id is None and tokenizer.eos_ids == ()


def test_old_files_name_no_types(tmp_path, loaded):
    metadata = spm_gguf(sentencepiece_model())
    del metadata["tokenizer.ggml.token_type"]
    old = load_tokenizer(write_gguf(tmp_path / "model.gguf", metadata))
    new = loaded("small-spm.gguf")
    for text in TEXTS:
        for special in (False, True):
            assert old.encode(text, special=special) == new.encode(text, special=special)


def test_no_space_in_front_and_no_bos(tmp_path):
    metadata = spm_gguf(sentencepiece_model()) | {
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": False,
    }
    tokenizer = load_tokenizer(write_gguf(tmp_path / "model.gguf", metadata))
    ids = tokenizer.encode("  the dog")
    assert not tokenizer.adds_bos and tokenizer.decode(ids) == "  the dog"
    assert tokenizer.decode(tokenizer.encode("the")) == "the"


def test_tokens_alike_and_of_their_own_kind(tmp_path):
    """Two of one spelling, one without any, and one that a model's maker defined with spaces."""
    metadata = spm_gguf(sentencepiece_model())
    pieces = [*metadata["tokenizer.ggml.tokens"], "▁the", "", "a  b"]
    count = len(pieces) - 3
    types = np.append(metadata["tokenizer.ggml.token_type"], [1, 1, 4]).astype(np.int32)
    scores = np.append(metadata["tokenizer.ggml.scores"], [0, 0, 0]).astype(np.float32)
    metadata |= {
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.eot_token_id": 5,
    }
    tokenizer = load_tokenizer(write_gguf(tmp_path / "model.gguf", metadata))
    ids = tokenizer.encode("the a  b dog")
    assert count + 2 in ids and tokenizer.decode(ids) == "the a  b dog"
    assert tokenizer.vocab_size == len(pieces) and 5 in tokenizer.eos_ids


SPM, BPE = spm_gguf(sentencepiece_model()), bytelevel_gguf()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "this GGUF file has no vocabulary"),
        ({"tokenizer.ggml.model": "bert"}, "model is 'bert', supported are llama, gpt2"),
        ({"tokenizer.ggml.model": "llama"}, "tokens is missing, expected an array"),
        (SPM | {"tokenizer.ggml.tokens": []}, "tokens is empty"),
        (SPM | {"tokenizer.ggml.scores": np.zeros(3, np.float32)}, "scores has 3 values"),
        (SPM | {"tokenizer.ggml.token_type": np.zeros(3, np.int32)}, "token_type has 3 values"),
        (SPM | {"tokenizer.ggml.eos_token_id": "x"}, "eos_token_id is 'x', expected a token id"),
        (SPM | {"tokenizer.ggml.add_bos_token": 1}, "add_bos_token is 1, expected true or false"),
        (SPM | {"tokenizer.ggml.scores": SPM["tokenizer.ggml.scores"] * np.nan}, "not finite"),
        (BPE | {"tokenizer.ggml.pre": "kimi-k2"}, "pre is 'kimi-k2', supported are default"),
        (BPE | {"tokenizer.ggml.merges": ["ab"]}, "merges holds 'ab', expected two pieces"),
        (BPE | {"tokenizer.ggml.merges": ["a zz"]}, "no tokenizer can be made of it"),
    ],
)
def test_damage(tmp_path, metadata, message):
    path = write_gguf(tmp_path / "model.gguf", metadata)
    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
