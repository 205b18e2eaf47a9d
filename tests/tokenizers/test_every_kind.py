"""What holds for every tokenizer: round trips, streams, special tokens, any text, any id."""

import random
import threading
import time

import numpy as np
import pytest

from cl_llama.errors import TokenizerError

TEXTS = [
    "Hello world",
    "hello the world\nnext line\ttab",
    "a  b   c",
    "Größe 日本語 한국어 😀👍🏽 e\u0301",
    "\x00 nul and \x7f del \x80",
    "1234567890 + 0.5e-3",
    "<s> </s> <|eot_id|> <|begin_of_text|> <unk> <0x41>",
    " leading",
    "\ufeff bom \u2028 \u00a0nbsp",
]


def collapses_spaces(tokenizer):
    """Whether the vocabulary removes repeated and outer spaces, as tok512.model does."""
    return tokenizer.decode(tokenizer.encode("a  b", add_bos=False)) != "a  b"


def normal(tokenizer, text):
    return " ".join(filter(None, text.split(" "))) if collapses_spaces(tokenizer) else text


def streamed(stream, ids):
    return "".join([stream.push(i) for i in ids]) + stream.finish()


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.decode(ids) == normal(tokenizer, text)
    assert streamed(tokenizer.stream(at_start=True), ids) == normal(tokenizer, text)


def test_bos(tokenizer):
    assert tokenizer.adds_bos and tokenizer.bos_id is not None
    assert tokenizer.encode("hello") == [
        tokenizer.bos_id,
        *tokenizer.encode("hello", add_bos=False),
    ]
    assert tokenizer.encode("") == [tokenizer.bos_id]
    assert tokenizer.encode("", add_bos=False) == []
    assert tokenizer.decode([tokenizer.bos_id]) == "" == tokenizer.decode([])
    assert tokenizer.eos_id == tokenizer.eos_ids[0]


def test_special_tokens_are_text_unless_asked_for(tokenizer):
    for token_id in (tokenizer.bos_id, tokenizer.eos_id):
        name = tokenizer.piece(token_id)
        text = f"x{name}y"
        assert token_id in tokenizer.encode(text, add_bos=False, special=True)
        plain = tokenizer.encode(text, add_bos=False)
        assert token_id not in plain
        assert tokenizer.decode(plain) == text
        assert tokenizer.token_bytes(token_id) == b""
        ids = tokenizer.encode(text, add_bos=False, special=True)
        assert name not in tokenizer.decode(ids)
        shown = tokenizer.decode(ids, skip_special=False)
        assert shown.replace(f"{name} ", name) == text
        assert streamed(tokenizer.stream(True, skip_special=False), ids) == shown


def test_stream_equals_decode_for_any_ids(tokenizer):
    rng = random.Random(7)
    for _ in range(60):
        ids = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randrange(1, 25))]
        if rng.random() < 0.5:  # byte tokens, for invalid and incomplete characters
            ids = [rng.choice(range(3, 259)) for _ in ids]
        for at_start in (False, True):
            for skip in (False, True):
                whole = tokenizer.decode(ids, skip, at_start)
                assert streamed(tokenizer.stream(at_start, skip), ids) == whole
        middle = b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", "replace")
        assert tokenizer.decode(ids, at_start=False) == middle


def test_stream_never_splits_a_character(tokenizer):
    text = "a😀日é" * 5
    stream = tokenizer.stream(at_start=True)
    seen = ""
    for token_id in tokenizer.encode(text, add_bos=False):
        seen += stream.push(token_id)
        assert text.startswith(seen)
    assert stream.finish() == "" and seen == text


def test_incomplete_character_at_the_end(tokenizer):
    ids = tokenizer.encode("x\U00010348", add_bos=False)
    stream = tokenizer.stream(at_start=True)
    seen = "".join(map(stream.push, ids[:-1]))
    assert seen == "x"
    assert stream.finish() == "\ufffd"
    assert tokenizer.decode(ids[:-1]) == "x\ufffd"


def test_a_continuation_keeps_the_space_of_its_first_word(tokenizer):
    whole = tokenizer.encode("hello world and more", add_bos=False)
    text = tokenizer.decode(whole)
    for cut in range(1, len(whole)):
        head, tail = whole[:cut], whole[cut:]
        assert tokenizer.decode(head) + streamed(tokenizer.stream(), tail) == text


def test_all_planes(tokenizer):
    rng = random.Random(3)
    for plane in range(17):
        start = plane << 16
        codes = [start + rng.randrange(0x10000) for _ in range(60)] + [start, start + 0xFFFF]
        text = "x" + "".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000).replace("▁", "")
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_surrogates(tokenizer):
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("\udfff", special=True) == tokenizer.encode("\ufffd")
    assert tokenizer.encode("\ud83d\ude00") == tokenizer.encode("😀")


def test_ids_outside_the_vocabulary(tokenizer):
    beyond = [tokenizer.vocab_size, 1 << 40]
    ids = tokenizer.encode("hello")
    assert tokenizer.decode(ids[:2] + beyond + ids[2:]) == "hello"
    assert [tokenizer.piece(i) for i in beyond] == ["", ""]
    assert [tokenizer.token_bytes(i) for i in beyond] == [b"", b""]
    stream = tokenizer.stream()
    for call in (
        tokenizer.piece,
        tokenizer.token_bytes,
        stream.push,
        lambda i: tokenizer.decode([i]),
    ):
        with pytest.raises(TokenizerError, match="token id -1: expected 0 to"):
            call(-1)


def test_numpy_ids(tokenizer):
    ids = np.array(tokenizer.encode("hello world"), dtype=np.int32)
    assert tokenizer.decode(ids) == "hello world"
    assert streamed(tokenizer.stream(at_start=True), ids) == "hello world"


def test_a_megabyte(tokenizer):
    rng = random.Random(5)
    words = ["hello", "world", "the", "Größe", "日本", "x1y2", "again,"]
    text = " ".join(rng.choice(words) for _ in range(180_000))
    started = time.process_time()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert time.process_time() - started < 30


@pytest.mark.parametrize("text", ["a" * 100_000, "ab" * 50_000, "é" * 50_000, "\n" * 100_000])
def test_long_runs(tokenizer, text):
    started = time.process_time()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert time.process_time() - started < 20


def test_threads_share_a_tokenizer(tokenizer):
    name = tokenizer.piece(tokenizer.eos_id)
    text = f"hello{name}world"
    expected = {special: tokenizer.encode(text, special=special) for special in (False, True)}
    wrong = []

    def work(special):
        for _ in range(200):
            if tokenizer.encode(text, special=special) != expected[special]:
                wrong.append(special)

    threads = [threading.Thread(target=work, args=(i % 2 == 0,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert expected[False] != expected[True] and not wrong
