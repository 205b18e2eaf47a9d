"""Both conversations as a person has them, at a pseudo-terminal."""

import json
import stat
import sys

import pytest

from cl_llama.demo import model_path

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from tests.cli.chat.pseudo_terminal import READY, Terminal, shown, terminal

pytestmark = pytest.mark.skipif(
    not (model_path() / "model.safetensors").exists(), reason="no embedded model"
)
CTRL_C, CTRL_D, ALT_ENTER = "\x03", "\x04", "\x1b\r"


@pytest.fixture
def words(device_infos) -> list[str]:
    """Options of both: the embedded model, with a context that takes long to fill."""
    if not device_infos:
        pytest.skip("no OpenCL device")
    device = ["--opencl-device", str(device_infos[0].index)]
    return [*device, "--max-seq-len", "20000", "--temperature", "0"]


def interrupted(person: Terminal, message: str) -> str:
    """Send a message, stop the answer when something of it is there; the screen then."""
    person.type(f"{message}\r")
    person.wait_for("\x1b[?2004l")
    begun = person.wait_for(".")  # of the answer: what is shown before it has none
    person.type(CTRL_C)
    return shown(begun + person.wait_for(READY))


def left(person: Terminal) -> None:
    """Ctrl-C twice where nothing is typed, and the terminal as it was."""
    person.type(CTRL_C)
    person.wait_for("Ctrl-C once more, or Ctrl-D, leaves.")
    person.wait_for(READY)
    person.type(CTRL_C)
    assert person.ended() == 0
    assert person.settings == person.settings_now()


def test_a_chat(words, tmp_path):
    saved = tmp_path / "talk.json"
    options = ["--chat-template", "chatml", "--max-new-tokens", "8"]
    with terminal(["chat", *words, *options, "--ignore-eos"], tmp_path) as person:
        assert "the embedded model on " in shown(person.wait_for(READY))
        first = person.send("Once upon a time").strip()
        assert len(first.splitlines()[0]) > 8
        person.send("one\\\rtwo" + ALT_ENTER + "three\x1b[200~ and\nfour\x1b[201~")
        assert "max_new_tokens none" in person.send("/set max-new-tokens none")
        assert "(stopped)" in interrupted(person, "Tell me more")
        assert "did you mean /stats?" in person.send("/stat")
        assert " cached, " in person.send("/stats")
        person.type("half a message" + CTRL_C)
        person.wait_for(READY)
        assert f"Saved 6 messages to {saved}." in person.send(f"/save {saved}").replace("\n", "")
        left(person)
    said = [message["content"] for message in json.loads(saved.read_bytes())["messages"]]
    assert said[::2] == ["Once upon a time", "one\ntwo\nthree and\nfour", "Tell me more"]
    assert said[5]
    (history,) = tmp_path.rglob("chat-history")
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "half a message" not in history.read_text()
    assert "Tell me more" in history.read_text()


def test_a_conversation_in_plain_text(words, tmp_path):
    begin = ["--interactive-system-prompt", "Once upon a time there was a girl."]
    parts = ["--interactive-prompt-postfix", "", "--interactive-stop", "."]
    with terminal(["--start-interactive", *words, *begin, *parts], tmp_path) as person:
        assert "Once upon a time there was a girl." in shown(person.wait_for(READY))
        for message in ("She had a", "One day, a"):
            answer = person.send(message).strip().splitlines()[0]
            assert len(answer) > 2
            assert "." not in answer
        person.type(CTRL_D)
        assert person.ended() == 0
    with terminal(["--start-interactive", *words, "--ignore-eos", *begin], tmp_path) as person:
        person.wait_for(READY)
        interrupted(person, "One day")
        left(person)
