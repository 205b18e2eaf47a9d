"""RLLaMA's endpoint, as its README defines it."""

import json
import math

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.server.rllama.accept import negotiate
from cl_llama.server.rllama.probabilities import distinct
from cl_llama.server.settings import RLLAMA_PATH, RllamaSettings, ServerSettings
from tests.paged_model import expected_logits
from tests.server.conftest import paged_llama
from tests.test_llm import EOS

GREEDY = {"temperature": 0, "stop_at_end_token": False, "max_new_tokens": 12}


def ask(server, prompt="Once upon", headers=None, **fields):
    with server.client() as client:
        return client.post(RLLAMA_PATH, json={"prompt": prompt} | fields, headers=headers)


def lines_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_tokens_join_to_the_text(serve):
    server = serve(paged_llama())
    params = SamplingParams(temperature=0.0, max_new_tokens=12, stop_token_ids=())
    expected = server.llm.generate("Once upon", params)
    lines = lines_of(ask(server, **GREEDY))
    assert len(lines) == len(expected.token_ids) == 12
    assert all(len(line) == 1 for line in lines)
    assert "".join(text for line in lines for text in line) == expected.text
    assert all(about == {"p": 1.0} for line in lines for about in line.values())


def test_the_end_token_is_told(serve):
    server = serve(paged_llama())
    # With all of 29 tokens as likely as the logits say, the text ends soon.
    lines = lines_of(ask(server, temperature=5.0, top_k=0, max_new_tokens=200))
    *rest, last = [about for line in lines for about in line.values()]
    assert last["is_end_token"] is True
    assert not any("is_end_token" in about for about in rest)
    assert all(0.0 < about["p"] < 0.5 for about in (*rest, last))


def test_p_is_the_probability_under_the_settings(serve):
    server = serve(paged_llama())
    ids = server.llm.prompt_ids("Once upon")
    logits = expected_logits(ids, server.llm.config.vocab_size)[-1].astype(float) / 0.7
    best = np.sort(logits)[::-1][:3]
    allowed = np.exp(best - best[0])
    allowed /= allowed.sum()
    (line,) = lines_of(ask(server, temperature=0.7, top_k=3, max_new_tokens=1))
    ((_, about),) = line.items()
    assert np.isclose(about["p"], allowed, rtol=1e-5).any()


def test_probabilities_of_every_token(serve, monkeypatch):
    # Runs of two tokens: each goes on where the one before ended.
    monkeypatch.setattr("cl_llama.server.rllama.endpoint.ROWS_BYTES", 2 * 4 * 26)
    server = serve(paged_llama())
    llm = server.llm
    size = llm.config.vocab_size
    params = SamplingParams(temperature=0.0, max_new_tokens=5, stop_token_ids=())
    ids = llm.prompt_ids("Once upon")
    text = llm.generate("Once upon", params).token_ids
    answer = ask(server, **(GREEDY | {"max_new_tokens": 5, "no_token_sampling": True}))
    lines = lines_of(answer)
    assert len(lines) == 5
    for step, line in enumerate(lines):
        logits = expected_logits([*ids, *text[:step]], size)[-1].astype(float)
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        p = [about["p"] for about in line.values()]
        assert list(line) == [llm.tokenizer.piece(i) for i in range(size)]
        np.testing.assert_allclose(p, expected, rtol=1e-9)
        assert math.isclose(math.fsum(p), 1.0, abs_tol=1e-12)
        ends = [i for i, about in enumerate(line.values()) if "is_end_token" in about]
        assert ends == [EOS]


def test_equal_pieces_keep_keys_of_their_own():
    assert list(distinct(["a", "b", "a", "", "", "a#2", "a"])) == [
        "a",
        "b",
        "a##2",
        "",
        "#4",
        "a#2",
        "a#6",
    ]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/jsonl"),
        ("*/*", "text/jsonl"),
        ("application/json", "application/json"),
        ("text/jsonl", "text/jsonl"),
        ("TEXT/*", "text/jsonl"),
        ("application/*;q=0.5", "application/json"),
        ("application/json, text/jsonl", "text/jsonl"),
        ("application/json;charset=utf-8, text/jsonl;q=0.9", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "text/jsonl"),
        ("*/*, text/jsonl;q=0", "application/json"),
        ("text/html", None),
        ("application/jsonl", None),
        ("application/json;q=0", None),
        ("application/json;q=0.0, text/*;q=0", None),
        ("application/json;q=much", None),
    ],
)
def test_negotiation(accept, expected):
    assert negotiate(accept) == expected


def test_the_accept_header(serve):
    server = serve(paged_llama())
    for accept in ("application/json", "text/jsonl"):
        answer = ask(server, headers={"Accept": accept}, **GREEDY)
        assert answer.headers["content-type"].partition(";")[0] == accept
        assert len(lines_of(answer)) == 12
    answer = ask(server, headers={"Accept": "text/html, image/*;q=0.9"}, **GREEDY)
    assert answer.status_code == 406
    assert answer.text.count("\n") == 0
    assert "application/json" in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": 3}, "prompt: input should be a valid string, got 3"),
        ({"top_k": -1}, "top_k: input should be greater than or equal to 0, got -1"),
        ({"top_p": "1"}, "top_p: input should be a valid number, got '1'"),
        ({"stop_at_end_token": 1}, "stop_at_end_token: input should be a valid boolean, got 1"),
        ({"temperature": -1}, "temperature must be a finite number of at least 0, got -1.0"),
        (
            {"prompt": "a" * 2000},
            "prompt: it has 2001 tokens, max_seq_len leaves room for 256",
        ),
    ],
)
def test_wrong_fields(serve, fields, message):
    answer = ask(serve(paged_llama()), **fields)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_limits(serve):
    server = serve(paged_llama())
    # Null is no value; max_seq_len counts the prompt; more than the server has is cut.
    answer = ask(server, **(GREEDY | {"top_k": None, "max_new_tokens": None, "max_seq_len": 10}))
    assert len(lines_of(answer)) == 10 - len(server.llm.prompt_ids("Once upon"))
    answer = ask(server, **(GREEDY | {"max_new_tokens": 1000, "max_seq_len": 100000}))
    assert len(lines_of(answer)) == 256 - len(server.llm.prompt_ids("Once upon"))
    answer = ask(server, **(GREEDY | {"max_new_tokens": 0}))
    assert (answer.status_code, answer.text) == (200, "")


def test_a_repeated_and_an_extended_prompt_are_reused(serve):
    server = serve(paged_llama())
    prompt = "Once" + " upon a" * 6
    first = lines_of(ask(server, prompt, **GREEDY))
    before = server.llm.engine.status().cached_tokens
    assert lines_of(ask(server, prompt, **GREEDY)) == first
    repeated = server.llm.engine.status().cached_tokens - before
    lines_of(ask(server, prompt + " upon a", **GREEDY))
    extended = server.llm.engine.status().cached_tokens - before - repeated
    length = len(server.llm.prompt_ids(prompt))
    assert min(repeated, extended) >= length - server.llm.engine.model.block_size


def test_another_path(serve):
    settings = ServerSettings(rllama=RllamaSettings(path="/complete"))
    with serve(paged_llama(), settings).client() as client:
        for path, status in (("/complete", 200), ("/complete/", 200), (RLLAMA_PATH, 404)):
            assert client.post(path, json={"prompt": "a"}).status_code == status
