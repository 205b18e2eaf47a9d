"""Files cut off, changed and made up: a TokenizerError, or a tokenizer that works."""

import random

import pytest

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers import load_tokenizer
from tests.tokenizers.conftest import REAL, SMALL

ROUNDS = 150


def damage(rng, data):
    """Cut a file off, change some bytes, or take a piece out."""
    damaged = bytearray(data)
    kind = rng.randrange(3)
    if kind == 0:
        del damaged[rng.randrange(len(damaged)) :]
    elif kind == 1:
        for _ in range(rng.choice([1, 1, 3, 20])):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 10, 34, 49, 127, 255])
    else:
        start = rng.randrange(len(damaged))
        del damaged[start : start + rng.choice([1, 4, 100])]
    return bytes(damaged)


def load_and_use(path):
    """Whether the file could be loaded; what was loaded must work."""
    try:
        tokenizer = load_tokenizer(path)
    except TokenizerError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return False
    for special in (False, True):
        ids = tokenizer.encode("hello the 日本 <s>", special=special)
        text = tokenizer.decode(ids, skip_special=False)
        stream = tokenizer.stream(at_start=True, skip_special=False)
        assert "".join(map(stream.push, ids)) + stream.finish() == text
    every = range(tokenizer.vocab_size)
    assert len([(tokenizer.piece(i), tokenizer.token_bytes(i)) for i in every]) == len(every)
    return True


@pytest.mark.parametrize("name", SMALL)
def test_damage(small_files, tmp_path, name, capfd):
    data = (small_files / name).read_bytes()
    rng = random.Random(name)
    path = tmp_path / "tokenizer.model"
    refused = 0
    for _ in range(ROUNDS):
        path.write_bytes(damage(rng, data))
        refused += not load_and_use(path)
    assert refused > ROUNDS / 4
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["llama2", "llama3", "tok512.model", "tok512.bin", "tinyllama.json"]
)
def test_damage_to_real_files(shared_data, tmp_path, name, capfd):
    data = shared_data(REAL[name]).read_bytes()
    rng = random.Random(name)
    path = tmp_path / "tokenizer.model"
    for _ in range(12):
        path.write_bytes(damage(rng, data))
        load_and_use(path)
    assert capfd.readouterr().err == ""


def test_junk(tmp_path):
    rng = random.Random(8)
    path = tmp_path / "tokenizer.model"
    starts = [
        b"",
        b"{",
        b"\n\x0e\n",
        b"IQ== 0\n",
        b"\x07\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00",
    ]
    for i in range(250):
        path.write_bytes(starts[i % len(starts)] + rng.randbytes(rng.randrange(300)))
        assert not load_and_use(path)
