"""A text that follows another one is encoded as that, by tokenizers of every kind."""

import pytest

from cl_llama.prompt_tokens import encode_continuation
from tests.tokenizers.test_every_kind import collapses_spaces


@pytest.mark.parametrize("text", ["abc", " abc", "\n\nabc", "a", "x y\n", "é"])
def test_a_continuation(tokenizer, text):
    ids = encode_continuation(tokenizer, text)
    assert tokenizer.decode(ids, at_start=False) == text
    if not collapses_spaces(tokenizer):
        begun = tokenizer.encode("One.")
        assert tokenizer.decode(begun + ids) == "One." + text


def test_special_tokens_of_a_continuation(tokenizer):
    end = tokenizer.eos_ids[0]
    spelled = tokenizer.decode([end], skip_special=False, at_start=False)
    assert encode_continuation(tokenizer, f"{spelled}\n")[0] == end
