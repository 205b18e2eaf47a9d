"""Conversations through `Llama`: the prompt's ids, the answer's text and its ends."""

from collections.abc import Iterator

import pytest

from cl_llama.chat import ChatTemplate
from cl_llama.errors import ChatTemplateError, TokenizerError
from cl_llama.llm import Llama
from tests.paged_model import PagedModel
from tests.test_llm import BOS, EOS, WordTokenizer, forced, greedy, ids_of

HELLO = [{"role": "user", "content": "Once upon"}]
WITH_BOS = (
    "{% if bos_token %}{{ bos_token }} {% endif %}{{ messages[0].content }}"
    "{% if add_generation_prompt %} a{% endif %}"
)


@pytest.fixture
def llm() -> Iterator[Llama]:
    with Llama(
        PagedModel(), WordTokenizer(), chat_template=ChatTemplate({"default": WITH_BOS})
    ) as llm:
        yield llm


def test_the_prompt_begins_with_one_bos(llm: Llama):
    expected = [BOS, *ids_of(" Once", " upon", " a")]
    for bos in ("<s>", ""):
        llm._chat_template._special_tokens = {"bos_token": bos}
        assert llm.chat(HELLO, greedy(3)).prompt_token_ids == expected


def test_the_answer_is_a_text_of_its_own(llm: Llama):
    said = ids_of(" wor", "ld", " upon")
    answer = llm.chat(HELLO, greedy(3), logit_mask=forced(said))
    assert answer.text == "world upon"
    with llm.stream_chat(HELLO, greedy(3), logit_mask=forced(said)) as stream:
        assert "".join(piece.text for piece in stream) == "world upon"


def test_the_tokenizers_ends_of_a_turn_end_the_answer():
    class TwoEnds(WordTokenizer):
        @property
        def eos_ids(self) -> tuple[int, ...]:
            return (EOS, 4)

    model, template = PagedModel(eos_ids=(EOS,)), ChatTemplate({"default": WITH_BOS})
    with Llama(model, TwoEnds(), chat_template=template) as llm:
        mask = forced([5, 4, 5])
        assert llm.chat(HELLO, greedy(3), logit_mask=mask).token_ids == [5, 4]
        assert llm.generate("Once", greedy(3), logit_mask=mask).token_ids == [5, 4, 5]
        params = greedy(3, stop_token_ids=())
        assert llm.chat(HELLO, params, logit_mask=mask).token_ids == [5, 4, 5]


def test_values_of_the_templates_own(llm: Llama):
    assert llm.chat_prompt(HELLO, add_generation_prompt=False) == "Once upon"
    llm._chat_template._templates = {"default": "{{ style }} {{ tools | length }}"}
    assert llm.chat_prompt(HELLO, style="terse", tools=[{}, {}]) == "terse 2"


def test_a_base_model_says_what_to_do():
    message = r"no chat template, .*--chat-template"
    with (
        Llama(PagedModel(), WordTokenizer()) as llm,
        pytest.raises(ChatTemplateError, match=message),
    ):
        llm.chat(HELLO)
    with Llama(PagedModel(), None) as llm, pytest.raises(TokenizerError):
        llm.chat(HELLO)
