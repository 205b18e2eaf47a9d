import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from cl_llama.cli.chat import session_file
from cl_llama.cli.chat.session_file import SessionFile, read_session, write_session
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError
from cl_llama.prompt_tokens import PromptTokens

SAVED = SessionFile(
    model="a model",
    template="00ff",
    tokenizer="ff00",
    sampling=SamplingParams(temperature=0.5, stop=("€", "b"), logit_bias={3: -1.5}, seed=7),
    messages=[{"role": "user", "content": "Hi \ud83d\n"}, {"role": "assistant", "content": "Yes"}],
    tokens=PromptTokens("<Hi>", (1, 5, 6, 9), "Yes", ((2, 1), (4, 3))),
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "talk.json"


def test_what_is_read_is_what_was_written(path):
    write_session(path, SAVED)
    assert read_session(path) == SAVED
    empty = replace(SAVED, messages=[], tokens=PromptTokens(), sampling=SamplingParams())
    write_session(path, empty)
    assert read_session(path) == empty


def test_a_file_is_whole_or_as_it_was(path, monkeypatch):
    write_session(path, SAVED)
    before = path.read_bytes()
    with pytest.raises(RequestError, match=r"below.json: cannot be written \("):
        write_session(path / "below.json", SAVED)
    monkeypatch.setattr(session_file.json, "dumps", lambda value: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_session(path, SAVED)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"cannot be read as a conversation \(not JSON: "),
        (b"\xff", r"cannot be read as a conversation \(not JSON: "),
        (b"[" * 100_000, r"cannot be read as a conversation \(not JSON: "),
        (b"[]", "holds no conversation of cl-llama chat"),
        (b'{"messages": []}', "holds no conversation of cl-llama chat"),
        ({"version": 2}, "version 2 of a conversation, this cl-llama reads 1"),
        ({"model": None}, '"model" must be text'),
        ({"messages": [{"role": "user"}]}, '"messages" must be a list of'),
        ({"messages": [{"role": "tool", "content": ""}]}, '"messages" must be a list of'),
        ({"sampling": []}, '"sampling" must be an object'),
        ({"sampling": {"temperature": -1}}, '"sampling": SamplingParams: temperature must be'),
        ({"sampling": {"temprature": 1}}, '"sampling": .*temprature'),
        ({"sampling": {"logit_bias": {"a": 1}}}, '"sampling": '),
        ({"token_ids": [1, -2, 3, 4]}, '"token_ids" must be a list of token ids'),
        ({"token_ids": [True, 2, 3, 4]}, '"token_ids" must be a list of token ids'),
        ({"token_ids": [1, 2]}, '"marks" must ascend to the end of the prompt'),
        ({"marks": [[2, 1, 0], [4, 3]]}, '"marks" must be a list of pairs'),
        ({"marks": [[2, 3], [4, 1]]}, '"marks" must ascend to the end of the prompt'),
        ({"marks": []}, '"marks" must ascend to the end of the prompt'),
    ],
)
def test_files_that_are_damaged_or_foreign(path, content, reason):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_session(path, SAVED)
        path.write_text(json.dumps(json.loads(path.read_bytes()) | content))
    with pytest.raises(RequestError, match=reason) as raised:
        read_session(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_files_that_are_none(path, monkeypatch):
    with pytest.raises(RequestError, match=r"talk.json: cannot be read .*\(No such file"):
        read_session(path)
    with pytest.raises(RequestError, match=r"cannot be read .*\(Is a directory"):
        read_session(path.parent)
    write_session(path, SAVED)
    monkeypatch.setattr(session_file, "_MAX_BYTES", math.floor(path.stat().st_size - 1))
    with pytest.raises(RequestError, match="too large"):
        read_session(path)
