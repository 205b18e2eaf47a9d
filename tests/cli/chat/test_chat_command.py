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
