"""llama2.c's tokenizer.bin against a transcription of run.c's loop, and against its .model."""

import random
import struct

import pytest

from cl_llama.errors import TokenizerError
from cl_llama.tokenizers.llama2c import Llama2cTokenizer, read_vocabulary
from tests.tokenizers.small_files import BYTE_PIECES


def naive_encode(tokens, scores, text):
    """run.c's encode: in every round, scan for the best pair and merge it."""
    ids = []
    for character in " " + text if text else "":
        data = character.encode()
        ids += [tokens.index(data)] if data in tokens else [byte + 3 for byte in data]
    while True:
        best, best_id, at = -1e10, -1, -1
        for i in range(len(ids) - 1):
            merged = tokens[ids[i]] + tokens[ids[i + 1]]
            if merged in tokens and scores[tokens.index(merged)] > best:
                best_id = tokens.index(merged)
                best, at = scores[best_id], i
        if at < 0:
            return ids
        ids[at : at + 2] = [best_id]


def content(tokens, longest=None):
    """A .bin file of (piece, score) after the 259 tokens that every file starts with."""
    names = ["<unk>", "\n<s>\n", "\n</s>\n", *BYTE_PIECES]
    records = [(name.encode(), 0.0) for name in names] + tokens
    data = struct.pack("<i", longest or max(len(token) for token, _ in records))
    for token, score in records:
        data += struct.pack("<fi", score, len(token)) + token
    return data


@pytest.mark.parametrize("scores", ["ranked", "tied", "random"])
def test_ids_are_those_of_the_naive_loop(tmp_path, scores):
    rng = random.Random(scores)
    words = {"".join(rng.choices(" ab", k=rng.choice([2, 2, 3, 4]))) for _ in range(25)}
    pieces = [" ", "a", "b", *sorted(words)]
    score = {
        "ranked": lambda i: -float(i),
        "tied": lambda i: -float(i % 3),
        "random": lambda i: rng.choice([-1.0, 2.5, -2e10, rng.random()]),
    }[scores]
    data = content([(piece.encode(), score(i)) for i, piece in enumerate(pieces)])
    tokenizer = Llama2cTokenizer(data, tmp_path)
    tokens, values = read_vocabulary(data, tmp_path)
    for _ in range(150):
        text = "".join(rng.choices(" abc", k=rng.randrange(40)))
        assert tokenizer.encode(text, add_bos=False) == naive_encode(tokens, values, text)


def test_real_vocabulary_is_that_of_the_naive_loop(shared_data, loaded):
    tokens, scores = read_vocabulary(shared_data("tok512.bin").read_bytes(), None)
    text = shared_data("stories260K.greedy200.txt").read_text()
    for piece in [*text.split("\n"), "Größe 😀", "  two  spaces", "a<0x41>b"]:
        assert loaded("tok512.bin").encode(piece, False) == naive_encode(tokens, scores, piece)


def test_bin_agrees_with_model(shared_data, loaded):
    lines = shared_data("corpus/tinyshakespeare.input.txt").read_text().split("\n")[:2000]
    lines += shared_data("corpus/wiki.test.raw").read_text(encoding="utf-8").split("\n")[:500]
    for line in lines:
        text = " ".join(line.split())  # tok512.model removes extra spaces, run.c does not
        ids = loaded("tok512.bin").encode(text)
        assert ids == loaded("tok512.model").encode(text), text
        assert loaded("tok512.bin").decode(ids) == loaded("tok512.model").decode(ids) == text


def test_bos_and_eos_both_end_a_text(loaded):
    assert loaded("small.bin").eos_ids == (2, 1)


def test_text_never_becomes_a_special_or_byte_token(tmp_path):
    pieces = ["<", "u", "n", "k", ">", "un", "<un", "<unk", " "]
    data = content([(piece.encode(), 0.0) for piece in pieces])
    ids = Llama2cTokenizer(data, tmp_path).encode("<unk>", add_bos=False)
    assert min(ids) >= 259


def test_bytes_that_are_not_utf8(tmp_path):
    tokenizer = Llama2cTokenizer(content([(b"\xe6\x97", 0.0), (b"\xa5", 0.0)]), tmp_path)
    assert tokenizer.decode([259, 260]) == "日"
    assert tokenizer.piece(259) == "\\xe6\\x97"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (content([(b"abc", float("nan"))]), "score nan"),
        (content([(b"abcdefgh", 0.0)], longest=7), "length 8 for token 259"),
        (content([(b"abc", 0.0)])[:-1], "cut off in token 259"),
        (content([(b"abc", 0.0)])[:-4], "cut off in token 259"),
        (content([])[:2000], "cut off"),
        (content([])[: 4 + 8 + 5], "no <0x00> as token 3 of 1"),
        (struct.pack("<ifi", 2**31 - 1, 0.0, 2**31 - 1), "cut off in token 0"),
        (struct.pack("<ifi", 7, 0.0, -1), "length -1 for token 0"),
        (b"\x07", "1 bytes"),
    ],
)
def test_damaged_records(tmp_path, data, reason):
    with pytest.raises(TokenizerError, match=reason):
        Llama2cTokenizer(data, tmp_path)
