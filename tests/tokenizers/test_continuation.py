"""A text that follows another one is encoded as that, by tokenizers of every kind."""

import pytest

from cl_llama.chat.builtin import BUILTIN
from cl_llama.chat.sandbox import render
from cl_llama.prompt_tokens import PromptTokens, encode_continuation
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


@pytest.mark.parametrize("name", BUILTIN)
def test_answers_stay_the_tokens_they_were(tokenizer, name):
    special = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
    messages: list[dict[str, str]] = []
    tokens = PromptTokens("", (), "", ((0, 0),))
    for question in ("abc", " d\n", "x y"):
        messages.append({"role": "user", "content": question})
        before = tokens
        text = render(BUILTIN[name], special | {"messages": messages})
        tokens = tokens.extended(tokenizer, text)
        assert tokens.ids[: len(before.ids)] == before.ids
        written = [
            token
            for part in (" I", "t is", " so")
            for token in encode_continuation(tokenizer, part)
        ]
        assert tokens.answered(tokenizer, written, "").ids == tokens.ids
        answer = tokenizer.decode(written)
        tokens = tokens.answered(tokenizer, [*written, tokenizer.eos_ids[0]], answer)
        assert tokens.ids[-len(written) :] == tuple(written)
        messages.append({"role": "assistant", "content": answer})
