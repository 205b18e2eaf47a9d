"""Llama 3's tokenizer against Meta's own test ids and plain tiktoken."""

import random

import pytest
import tiktoken

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.tiktoken import (
    MAX_RUN,
    MAX_TEXT,
    SPLIT_PATTERN,
    TiktokenTokenizer,
    read_ranks,
    split_long,
)
from tests.tokenizers.small_files import tiktoken_file


def test_ids_of_metas_own_tests(loaded):
    tokenizer = loaded("llama3")
    assert tokenizer.vocab_size == 128256
    sentence = [2028, 374, 264, 1296, 11914, 13]
    assert tokenizer.encode("This is a test sentence.") == [128000, *sentence]
    dialog = (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        "This is a test sentence.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    expected = [128000, 128006, 882, 128007, 271, *sentence, 128009, 128006, 78191, 128007, 271]
    assert tokenizer.encode(dialog, add_bos=False, special=True) == expected


def test_special_tokens_of_llama_3_1(loaded):
    tokenizer = loaded("llama3")
    names = {
        128000: "<|begin_of_text|>",
        128001: "<|end_of_text|>",
        128002: "<|reserved_special_token_0|>",
        128004: "<|finetune_right_pad_id|>",
        128006: "<|start_header_id|>",
        128007: "<|end_header_id|>",
        128008: "<|eom_id|>",
        128009: "<|eot_id|>",
        128010: "<|python_tag|>",
        128011: "<|reserved_special_token_2|>",
        128255: "<|reserved_special_token_246|>",
    }
    for token_id, name in names.items():
        assert tokenizer.piece(token_id) == name
        assert tokenizer.encode(name, add_bos=False, special=True) == [token_id]
    assert tokenizer.eos_ids == (128001, 128009, 128008)


def test_ids_are_those_of_plain_tiktoken(shared_data, loaded):
    tokens = read_ranks(shared_data("llama3_tokenizer.model").read_bytes(), None)
    plain = tiktoken.Encoding(
        "plain",
        pat_str=SPLIT_PATTERN,
        mergeable_ranks={token: i for i, token in enumerate(tokens)},
        special_tokens={},
    )
    text = shared_data("corpus/wiki.test.raw").read_text(encoding="utf-8")[:300_000]
    ids = loaded("llama3").encode(text, add_bos=False)
    assert ids == plain.encode_ordinary(text)
    assert loaded("llama3").decode(ids) == text


def slow_split(text, limit):
    """Meta's loop over characters, which counts the length of the current run."""
    start, length, parts = 0, 0, []
    space = text[0].isspace()
    for i, character in enumerate(text):
        if character.isspace() != space:
            space, length = not space, 1
            continue
        length += 1
        if length > limit:
            parts.append(text[start:i])
            start, length = i, 1
    return [*parts, text[start:]]


@pytest.mark.parametrize("limit", [1, 3, 4])
def test_long_runs_are_cut_where_meta_cuts_them(monkeypatch, limit):
    monkeypatch.setattr("cl_llama.tokenizers.tiktoken.MAX_RUN", limit)
    rng = random.Random(limit)
    for _ in range(300):
        text = "".join(rng.choices("ab \n\u3000\x1c", weights=[6, 6, 4, 2, 1, 1], k=30))
        assert list(split_long(text)) == slow_split(text, limit)


def test_long_texts_are_cut(loaded):
    assert list(split_long("")) == []
    text = "ab " * MAX_TEXT
    assert [len(part) for part in split_long(text)] == [MAX_TEXT] * 3
    assert [len(part) for part in split_long("x" * (2 * MAX_RUN))] == [MAX_RUN] * 2
    assert loaded("small.tiktoken").decode(loaded("small.tiktoken").encode(text)) == text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b" 7\n", b" 8\n", 1), "rank 8 on line 8"),
        (lambda data: data.replace(b" 7\n", b"\n", 1), "on line 8"),
        (lambda data: data.replace(b"Bw== 7\n", b"B*== 7\n", 1), "on line 8"),
        (lambda data: data.replace(b"Bw== 7\n", b"CA== 7\n", 1), "one token twice"),
        (lambda data: data[:500], "on line|no token for byte"),
        (lambda data: data.replace(b" 7\n", b" " + b"9" * 5000 + b"\n", 1), "on line 8"),
    ],
)
def test_damaged_lines(tmp_path, change, reason):
    with pytest.raises(TokenizerError, match=reason):
        TiktokenTokenizer(change(tiktoken_file()), tmp_path)
