"""The commands, over a model whose every token counts."""

import json
from collections.abc import Iterator

import pytest

from cl_llama.cli.chat.commands import COMMANDS, run_command
from cl_llama.cli.chat.session import ChatSession
from cl_llama.cli.chat.settings import SETTINGS
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import ContextFullError, RequestError
from tests.paged_model import PagedModel
from tests.test_conversation import talking
from tests.test_llm import ids_of

LETTERS = dict.fromkeys(ids_of("a", "b", "ab", "aab"), 30.0)
"""A bias with which every answer is some text, and a random one."""


@pytest.fixture
def session() -> Iterator[ChatSession]:
    with talking(PagedModel()) as llm:
        yield begun(llm)


def begun(llm, **changes) -> ChatSession:
    settings = {
        "model": "paged",
        "params": SamplingParams(max_new_tokens=4, logit_bias=LETTERS),
        "system": " wor",
        "interactive": False,
        "quiet": False,
    }
    return ChatSession(llm, **(settings | changes))


def said(session: ChatSession) -> list[str]:
    return [m["content"] for m in session.conversation.messages if m["role"] != "assistant"]


def test_changes_are_taken_back(session, capsys):
    session.say(" upon")
    first = list(session.conversation.messages), session.conversation.tokens
    session.say(" a")
    second = list(session.conversation.messages), session.conversation.tokens
    assert said(session) == [" wor", " upon", " a"]
    for line, now in (
        ("/clear", [" wor"]),
        ("/system  ab", ["ab", " upon", " a"]),
        ("/system off", [" upon", " a"]),
        ("/edit", [" wor", " upon"]),
        ("/regen", [" wor", " upon", " a"]),
    ):
        run_command(session, line)
        assert said(session) == now
        run_command(session, "/undo")
        assert (session.conversation.messages, session.conversation.tokens) == second
    assert session.take_draft() == " a"  # of /edit
    run_command(session, "/undo")
    assert (session.conversation.messages, session.conversation.tokens) == first
    run_command(session, "/undo")
    with pytest.raises(RequestError, match="nothing has happened yet"):
        run_command(session, "/undo")
    for line in ("/edit", "/regen"):
        with pytest.raises(RequestError, match="no message yet"):
            run_command(session, line)
    capsys.readouterr()
    run_command(session, "/system")
    assert capsys.readouterr() == ("", " wor\n")


def test_settings(session, capsys):
    run_command(session, "/set top-k 5")
    run_command(session, "/set stop P!")
    run_command(session, '/set stop ["S", "\\n"]')
    run_command(session, "/set max_new_tokens none")
    run_command(session, "/set seed 3")
    assert session.params == SamplingParams(top_k=5, stop=("S", "\n"), seed=3, logit_bias=LETTERS)
    run_command(session, "/set max_new_tokens default")
    assert session.params.max_new_tokens == 4
    capsys.readouterr()
    run_command(session, "/set")
    listed = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in listed] == list(SETTINGS)
    assert 'stop                    ["S", "\\n"]' in listed
    for line, reason in (
        ("/set top_p 2", "/set: top_p must be a number between 0 and 1 .*, got 2"),
        ("/set temperature hot", "/set: temperature must be .* got 'hot'"),
        ("/set temprature 1", "there is no setting 'temprature'; did you mean temperature"),
        ("/set logit_bias {}", "there is no setting 'logit_bias'"),
        ("/regne", "there is no command /regne; did you mean /regen"),
        ("/etc/passwd", "there is no command /etc/passwd; a message that begins with a slash"),
        ("/clear all", "/clear takes nothing behind it, got 'all'"),
    ):
        with pytest.raises(RequestError, match=reason):
            run_command(session, line)


def test_a_seed_gives_other_answers_and_the_same_chat(session):
    run_command(session, "/set seed 5")
    told = []
    for _ in range(2):
        session.say(" upon")
        first = session.conversation.messages[-1]["content"]
        run_command(session, "/regen")
        told.append((first, session.conversation.messages[-1]["content"], session.seed))
        run_command(session, "/clear")
        run_command(session, "/set seed 5")
    assert told[0] == told[1]
    assert told[0][0] != told[0][1]
    assert told[0][2] == 6


def test_files(session, tmp_path, capsys):
    path = tmp_path / "talk.json"
    with pytest.raises(RequestError, match="/save: name a file"):
        run_command(session, "/save")
    session.say(" upon")
    run_command(session, f'/save "{path}"')
    session.say(" a")
    run_command(session, "/save")
    text = path.read_bytes()
    session.file = None
    with pytest.raises(RequestError, match=r"talk.json exists; /save! .* replaces it"):
        run_command(session, f"/save {path}")
    assert path.read_bytes() == text
    run_command(session, f"/save! {path}")
    tokens = session.conversation.tokens
    run_command(session, "/clear")
    run_command(session, "/set top_k 9")
    run_command(session, f"/load {path}")
    assert said(session) == [" wor", " upon", " a"]
    assert session.conversation.tokens == tokens
    assert session.params.top_k == 0
    run_command(session, "/undo")
    assert said(session) == [" wor"]
    content = json.loads(text)
    for change, note, kept in (
        ({"tokenizer": "other"}, "another tokenizer (paged)", 0),
        ({"template": "other"}, "another template (paged)", len(tokens.ids)),
        ({"token_ids": [*content["token_ids"], 40]}, "another tokenizer (paged)", 0),
    ):
        path.write_text(json.dumps(content | change))
        capsys.readouterr()
        run_command(session, f"/load {path}")
        assert note in capsys.readouterr().err
        assert len(session.conversation.tokens.ids) == kept


def test_cached_tokens_cover_all_earlier_turns(session, capsys):
    for _ in range(2):
        session.say(" upon")
    before = len(session.conversation.tokens.ids)
    session.say(" a")
    capsys.readouterr()
    run_command(session, "/stats")
    cached = (before - 1) // 4 * 4
    assert cached > 16
    shown = capsys.readouterr().err
    assert f" {cached} of them cached" in shown
    assert f"context   {len(session.conversation.tokens.ids)} of 256 tokens, 7 messages" in shown
    assert f"{cached} of " in session.status()


def test_a_full_context_loses_nothing(capsys):
    with talking(PagedModel(num_blocks=5)) as llm:
        session = begun(llm, params=SamplingParams(logit_bias=LETTERS), interactive=True)
        session.say(" upon")
        assert "(the context of 20 tokens is full" in capsys.readouterr().err
        before = list(session.conversation.messages)
        with pytest.raises(ContextFullError) as raised:
            session.say(" a")
        session.complain(raised.value)
        shown = capsys.readouterr().err
        assert "context of 20 has no room" in shown
        assert "/save FILE keeps the conversation" in shown
        assert session.conversation.messages == before


def test_the_help_names_every_command(session, capsys):
    run_command(session, "/help")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [f"/{name}" for name in COMMANDS]
    run_command(session, "/exit")
    assert session.over
