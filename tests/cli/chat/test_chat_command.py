"""`cl-llama chat` through pipes: messages and commands as lines, answers on standard output."""

import io
import json
from collections.abc import Callable

import pytest

from tests.cli.conftest import Ended


@pytest.fixture
def chat(cl_llama, long_model, device_infos, monkeypatch) -> Callable[..., Ended]:
    """Runs a chat with a small model over the given lines; greedy, 5 tokens an answer."""
    if not device_infos:
        pytest.skip("no OpenCL device")
    settings = ["--model-path", long_model, "--opencl-device", device_infos[0].index]
    settings += ["--chat-template", "chatml", "--temperature", 0, "--max-new-tokens", 5]

    def run(lines: str | bytes, *words: object) -> Ended:
        data = lines if isinstance(lines, bytes) else lines.encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return cl_llama("chat", *settings, *words)

    return run


def contents(path) -> list[str]:
    return [message["content"] for message in json.loads(path.read_bytes())["messages"]]


def test_a_saved_conversation_goes_on_with_its_tokens(chat, tmp_path):
    whole, begun = tmp_path / "whole.json", tmp_path / "begun.json"
    lines = ["Hi", "How\\\n are you?", "Go on"]
    one = chat("\n".join([*lines, f"/save {whole}", ""]))
    assert (one.status, one.out.count("\n")) == (0, 3)
    assert one.err == f"Saved 6 messages to {whole}.\n"
    first = chat("\r\n".join([*lines[:2], f'/save "{begun}"']), "--quiet")
    second = chat(f"{lines[2]}\n/stats\n/save\n", "--load", begun, "--quiet")
    assert (first.status, second.status, first.err) == (0, 0, "")
    assert first.out + second.out == one.out
    assert contents(begun) == contents(whole)
    assert contents(whole)[2] == "How\n are you?"
    assert begun.read_bytes() == whole.read_bytes()
    ids = json.loads(whole.read_bytes())["token_ids"]
    assert f"context   {len(ids)} of 20000 tokens, 6 messages\n" in second.err


def test_a_slash_in_front(chat, tmp_path):
    saved = tmp_path / "talk.json"
    done = chat(f"//etc is a folder\n\n \n/save {saved}\n/exit\nnever read\n")
    assert (done.status, done.out.count("\n")) == (0, 1)
    assert contents(saved)[0::2] == ["/etc is a folder"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("Hi\n/nonsense\nHi\n", "there is no command /nonsense; a message that begins with"),
        (b"Hi\n\xff\nHi\n", "line 2 of standard input: expected UTF-8 text, got byte 0xff at 0"),
        ("Hi\n/load /none.json\nHi\n", "/none.json: cannot be read as a conversation"),
    ],
)
def test_a_script_ends_where_something_goes_wrong(chat, lines, reason):
    done = chat(lines, "--quiet")
    assert (done.status, done.out.count("\n")) == (1, 1)
    assert done.err.startswith("cl-llama: error: ")
    assert reason in done.err
    assert done.err.count("\n") == 1


def test_settings_of_a_file_and_of_the_command_line(chat, tmp_path):
    saved, again = tmp_path / "talk.json", tmp_path / "again.json"
    assert chat(f"/set top_k 7\n/set top_p 0.5\n/save {saved}\n").status == 0
    assert chat(f"/save {again}\n", "--load", saved, "--top-p", 0.25).status == 0
    sampling = json.loads(again.read_bytes())["sampling"]
    assert (sampling["top_k"], sampling["top_p"]) == (7, 0.25)


def test_what_does_not_go_together(chat, cl_llama, long_model, device_infos, monkeypatch):
    done = chat("", "--load", "talk.json", "--system-prompt", "a")
    assert (done.status, done.out) == (2, "")
    assert "--system-prompt: not with --load" in done.err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"Hi\n")))
    device = ["--opencl-device", device_infos[0].index]
    base = cl_llama("chat", "--model-path", long_model, *device)
    assert (base.status, base.out) == (1, "")
    assert "brings no chat template" in base.err


def test_every_answer_follows_the_grammar(chat, tmp_path):
    pytest.importorskip("llguidance")
    grammar = tmp_path / "yes.lark"
    grammar.write_text('start: "yes" | "no"')
    done = chat("Is it?\nAnd now?\n", "--grammar", grammar)
    assert done.status == 0
    assert [line in ("yes", "no") for line in done.out.splitlines()] == [True, True]
