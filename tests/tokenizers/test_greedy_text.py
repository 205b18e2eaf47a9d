"""The text that llama2.c's own test expects, through both forms of its tokenizer."""

import pytest

from cl_llama.tokenizers import load_tokenizer


@pytest.mark.parametrize("name", ["tok512.model", "tok512.bin", "llama2_tokenizer.model"])
def test_text_of_200_greedy_steps_survives(shared_data, name):
    text = shared_data("stories260K.greedy200.txt").read_bytes().decode()
    tokenizer = load_tokenizer(shared_data(name))
    ids = tokenizer.encode(text, add_bos=False)
    stream = tokenizer.stream(at_start=True)
    assert "".join(map(stream.push, ids)) + stream.finish() == text
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, at_start=False) == " " + text
