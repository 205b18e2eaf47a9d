"""Rendering: equal to transformers, bounded, and what a refusal or a damaged template says."""

import json
import os
import signal
import threading
import time

import pytest

from cl_llama.chat import ChatTemplate, renderer
from cl_llama.errors import ChatTemplateError, RequestError
from tests.chat.conversations import RENDERINGS, by_transformers, cases, recorded
from tests.conftest import SHARED_DATA

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def template():
    """Makes a template of its source; all of them are closed at the end."""
    made = []

    def make(source, **tokens):
        made.append(ChatTemplate({"default": source}, tokens))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_every_rendering_of_transformers():
    expected = json.loads(RENDERINGS.read_text(encoding="utf-8"))
    one = renderer.Renderer()
    for name, source, values in cases(SHARED_DATA):
        values = {"tools": None, "documents": None} | values
        assert recorded(name, one.render(source, values)) == expected[name], name
    one.close()


def test_the_renderings_are_those_of_transformers():
    pytest.importorskip("transformers")
    expected = json.loads(RENDERINGS.read_text(encoding="utf-8"))
    for name, source, values in cases(SHARED_DATA):
        assert recorded(name, by_transformers(source, values)) == expected[name], name


def test_values_that_are_none_are_as_if_not_there(template):
    chat = template("{{ 'content' in messages[0] }} {{ tools is none }} {{ extra }}")
    assert chat.render([{"role": "user", "content": None}], extra=3) == "False True 3"


def test_today(template):
    assert template("{{ strftime_now('%Y') }}").render([]) == time.strftime("%Y")


def test_tools_have_a_template_of_their_own():
    chat = ChatTemplate({"default": "plain", "tool_use": "tools", "rag": "rag"})
    assert chat.render(HELLO) == "plain"
    assert chat.render(HELLO, tools=[]) == "tools"
    chat.close()
    with pytest.raises(ChatTemplateError, match=r"none of them is the default; .*: a, b$"):
        ChatTemplate({"a": "", "b": ""}).render(HELLO)


def test_a_refusal(template):
    chat = template(r"{{ raise_exception('roles must\n alternate\x1b') }}")
    with pytest.raises(RequestError, match=r"refuses these messages: roles must alternate$"):
        chat.render(HELLO)


@pytest.mark.parametrize(
    "messages", [["Hello"], [{"content": "Hello"}], {"role": "user"}, [{"role": "x", "c": {1}}]]
)
def test_messages_that_are_none(template, messages):
    with pytest.raises(RequestError, match=r"^chat: (a message must be|messages must be)"):
        template("{{ messages }}").render(messages)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for %}", "line 1: Expected an expression"),
        ("\n{% unknown %}", "line 2: Encountered unknown tag 'unknown'"),
        ("{{ messages[0].content.text.x }}", "'str object' has no attribute 'text'"),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ ().__class__.__base__.__subclasses__() }}", "access to attribute '__class__' of"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{% set x = cycler.__init__.__globals__ %}{{ x.os }}", "is unsafe"),
        ("{% include '/etc/passwd' %}", "no loader for this environment"),
        ("{{ 'a' * 4294967296 }}", "it took more than 512 MiB"),
        ("{{ '%4294967295d' % 1 }}", "it took more than 512 MiB"),
        ("{{ 'ab' * 9000000 }}", "it makes a text of 18000000 characters"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "it is nested too deeply"),
    ],
)
def test_damaged_and_hostile_templates(template, source, reason):
    chat = template(source)
    with pytest.raises(ChatTemplateError) as raised:
        chat.render(HELLO)
    assert str(raised.value).startswith("chat: the template cannot be rendered: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_that_never_ends(template, monkeypatch):
    monkeypatch.setattr(renderer, "MAX_SECONDS", 0.5)
    count = "{% for i in range(99999) %}"
    chat = template("{% if messages %}" + count * 3 + "{% endfor %}" * 3 + "{% endif %}fine")
    with pytest.raises(ChatTemplateError, match=r"it takes longer than 0.5 s; pass another"):
        chat.render(HELLO)
    monkeypatch.setattr(renderer, "MAX_SECONDS", 20)
    assert chat.render([]) == "fine"  # by another process


def test_a_template_that_is_none_at_all():
    with pytest.raises(ChatTemplateError, match="a template of 1048577 characters"):
        ChatTemplate({"default": " " * (2**20 + 1)}).render([])


def test_several_threads_and_one_process(template):
    chat = template("{{ messages[0].content * 1000 }}")
    texts: dict[int, str] = {}

    def ask(i: int) -> None:
        texts[i] = chat.render([{"role": "user", "content": str(i)}])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {i: str(i) * 1000 for i in range(8)}


def test_the_current_folder_holds_no_modules(template, tmp_path, monkeypatch):
    (tmp_path / "jinja2.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert template("{{ messages[0].content }}").render(HELLO) == "Hello"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups")
def test_ctrl_c_is_not_for_the_process_that_renders(template):
    chat = template("{{ messages[0].content }}")
    chat.render(HELLO)
    os.kill(chat._renderer._process.pid, signal.SIGINT)
    assert chat.render(HELLO) == "Hello"
