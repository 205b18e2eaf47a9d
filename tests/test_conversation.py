"""Conversations that keep their tokens, over a model whose every token counts."""

from collections.abc import Iterator

import pytest

from cl_llama.chat import ChatTemplate
from cl_llama.errors import ContextFullError, DeviceError, RequestError
from cl_llama.llm import Llama
from tests.paged_model import PagedModel
from tests.test_llm import BOS, WordTokenizer, forced, greedy, ids_of

# Roles as words: "he" the system, " Once" a user, "TO" the assistant; "S" ends a turn.
TEMPLATE = (
    "{% for m in messages %}{{ {'system': 'he', 'user': ' Once', 'assistant': 'TO'}[m.role] }}"
    "{{ m.content }}S{% endfor %}{% if add_generation_prompt %}TO{% endif %}"
)
SPLIT = ids_of("a", "a", "b")  # a tokenizer makes "aab" of it, one token


class Words(WordTokenizer):
    """Has a line break, too, behind which no space is put."""

    LINE_BREAK = 30

    def __init__(self) -> None:
        super().__init__(size=31)
        self._contributions = [*self._contributions[:30], b"\n"]

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        if not text.startswith("\n"):
            return super().encode(text, add_bos, special)
        rest = super().encode("<s>" + text[1:], add_bos=False, special=True)[1:]
        return [*self.beginning(add_bos), *ids_of(" "), self.LINE_BREAK, *rest]


def talking(model: PagedModel, template: str = TEMPLATE) -> Llama:
    return Llama(model, Words(), chat_template=ChatTemplate({"default": template}))


@pytest.fixture
def llm() -> Iterator[Llama]:
    with talking(PagedModel()) as llm:
        yield llm


def say(conversation, text, ids=SPLIT, **settings):
    params = greedy(len(ids), **settings)
    with conversation.say(text, params, logit_mask=forced(ids)) as answer:
        for _ in answer:
            pass
    return answer


def test_what_was_written_stays_the_tokens_it_was_and_the_cache_holds_it(llm: Llama):
    conversation = llm.conversation(" wor")
    expected = [BOS, *ids_of(" ", "he", " wor")]
    for turn in range(3):
        answer = say(conversation, " upon")
        expected += ids_of("S", " Once", " upon", "S", "TO")
        assert answer._stream.prompt_token_ids == expected
        # The last token of an answer was never read by the model.
        assert answer.stats.cached_tokens == (0, 8, 16)[turn]
        expected += SPLIT
        assert (answer.text, answer.kept) == ("aab", True)
    assert [m["role"] for m in conversation.messages] == ["system", *["user", "assistant"] * 3]
    assert conversation.tokens.ids == tuple(expected)


def test_an_answer_again_and_a_message_taken_back(llm: Llama):
    conversation = llm.conversation()
    say(conversation, " upon")
    first = say(conversation, " a", ids_of("b", "b"))
    messages = list(conversation.messages)
    with conversation.retry(greedy(2), logit_mask=forced(ids_of("a", "b"))) as again:
        assert len(list(again)) == 2
    assert again._stream.prompt_token_ids == first._stream.prompt_token_ids
    assert [m["content"] for m in conversation.messages] == [" upon", "aab", " a", "ab"]
    conversation.messages = messages[:2]
    third = say(conversation, " b")
    kept = len(SPLIT) + len(ids_of(" Once", " upon", "S", "TO")) + 2  # BOS and a space
    assert third._stream.prompt_token_ids[:kept] == first._stream.prompt_token_ids[:kept]
    assert third._stream.prompt_token_ids[kept:] == ids_of("S", " Once", " ", "b", "S", "TO")


def test_only_what_counts_is_kept(llm: Llama):
    conversation = llm.conversation()
    stopped = say(conversation, " upon", ids_of("ab", " upon", " wor", "ld"), stop=("upon wo",))
    assert stopped.text == "ab "
    assert conversation.messages[-1]["content"] == "ab "
    again = say(conversation, " a")
    assert again._stream.prompt_token_ids[6:] == ids_of("ab", " ", "S", " Once", " a", "S", "TO")


def test_a_template_that_trims_answers(llm: Llama):
    trimming = TEMPLATE.replace("m.content", "m.content | trim")
    with talking(PagedModel(), trimming) as llm:
        conversation = llm.conversation()
        first = say(conversation, "a", ids_of(" ", " ", *"aab", " "))
        assert first.text == " aab "
        second = say(conversation, "b")
        told = [*first._stream.prompt_token_ids, *ids_of(" ", " ", *"aab", " ")]
        assert second._stream.prompt_token_ids == [*told, *ids_of("S", " Once", "b", "S", "TO")]


def test_a_template_that_shows_less_of_an_earlier_answer():
    thinking = TEMPLATE.replace("m.content", "m.content.split('P!')[-1]")
    with talking(PagedModel(), thinking) as llm:
        conversation = llm.conversation()
        first = say(conversation, " upon", [*SPLIT, *ids_of("P!", "a", "b")])
        second = say(conversation, " a")
        begun = first._stream.prompt_token_ids
        assert second._stream.prompt_token_ids[: len(begun)] == begun
        assert second._stream.prompt_token_ids[len(begun) :] == ids_of(
            "ab", "S", " Once", " a", "S", "TO"
        )
        conversation.messages = [{"role": "system", "content": "he"}, *conversation.messages]
        third = say(conversation, " b")
        assert third._stream.prompt_token_ids == llm.prompt_ids(
            llm.chat_prompt([*conversation.messages[:-1]])
        )


def test_an_answer_that_is_stopped(llm: Llama):
    conversation = llm.conversation()
    with conversation.say(" upon", greedy(200)) as answer:
        pieces = [next(answer), next(answer)]
        answer.stop()
        pieces += answer
    assert pieces[-1].finish_reason == "cancelled"
    assert "".join(piece.text for piece in pieces) == answer.text
    assert conversation.messages[-1] == {"role": "assistant", "content": answer.text}
    assert list(answer) == []


def test_nothing_changes_where_there_is_no_answer():
    fails = False

    def before_forward(batch):
        if fails:
            raise DeviceError("burnt")

    with talking(PagedModel(before_forward=before_forward)) as llm:
        conversation = llm.conversation()
        with pytest.raises(RequestError, match="no message yet"):
            conversation.retry()
        say(conversation, " upon")
        before = list(conversation.messages), conversation.tokens
        fails = True
        with pytest.raises(DeviceError, match="burnt"), conversation.say(" a", greedy(3)) as answer:
            next(answer)
        assert not answer.kept
        with conversation.say(" a", greedy(0)) as answer:  # ends before a token
            pass
        assert not answer.kept
        assert (conversation.messages, conversation.tokens) == before


def test_a_full_context():
    with talking(PagedModel(num_blocks=4)) as llm:
        conversation = llm.conversation()
        full = say(conversation, " upon", ids_of(*"a" * 40))
        assert len(conversation.tokens.ids) == 16
        assert full.kept
        before = list(conversation.messages), conversation.tokens
        with pytest.raises(ContextFullError, match=r"21 tokens, and the context of 16 has no room"):
            conversation.say(" a")
        assert (conversation.messages, conversation.tokens) == before
