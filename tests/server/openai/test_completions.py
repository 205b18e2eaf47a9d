"""/v1/completions, /v1/embeddings, /v1/models, /tokenize and /detokenize."""

import base64

import httpx
import numpy as np
import openai
import pytest

from cl_llama.engine.params import SamplingParams
from tests.server.conftest import RunningServer
from tests.server.openai.byte_model import EOS
from tests.server.openai.conftest import Say


def complete(client: openai.OpenAI, **settings: object):
    settings = {"prompt": "Hello", "temperature": 0, "max_tokens": 8} | settings
    return client.completions.create(model="cl-llama", **settings)


def expected(server: RunningServer, prompt: str, **settings: object) -> str:
    settings = {"max_new_tokens": 8, "temperature": 0.0} | settings
    return server.llm.generate(prompt, SamplingParams(**settings)).text


def test_prompts_of_every_kind(server: RunningServer, client: openai.OpenAI):
    texts = {prompt: expected(server, prompt) for prompt in ("Hello", "Bye")}
    both = list(texts.values())
    for prompt, answers in (
        ("Hello", both[:1]),
        (["Hello", "Bye"], both),
        (list(b"Hello"), both[:1]),
        ([list(b"Hello"), list(b"Bye")], both),
    ):
        answer = complete(client, prompt=prompt)
        assert answer.object == "text_completion"
        assert [choice.text for choice in answer.choices] == answers
        assert [choice.index for choice in answer.choices] == list(range(len(answers)))
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 8 * len(answers)
        assert answer.usage.prompt_tokens == (5 if len(answers) == 1 else 8)
        streamed = [""] * len(answers)
        for chunk in complete(client, prompt=prompt, stream=True):
            streamed[chunk.choices[0].index] += chunk.choices[0].text
        assert streamed == answers


def test_several_texts_of_several_prompts(server: RunningServer, client: openai.OpenAI):
    answer = complete(client, prompt=["Hello", "Bye"], n=2, seed=5, temperature=1)
    assert [choice.text for choice in answer.choices] == [
        expected(server, prompt, temperature=1.0, seed=seed)
        for prompt in ("Hello", "Bye")
        for seed in (5, 6)
    ]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (8, 32)


@pytest.mark.parametrize("prompt", ["Hello", list(b"Hello")])
def test_echo(server: RunningServer, client: openai.OpenAI, prompt: str | list[int]):
    text = expected(server, "Hello")
    assert complete(client, prompt=prompt, echo=True).choices[0].text == "Hello" + text
    assert complete(client, prompt=prompt, echo=True, max_tokens=0).choices[0].text == "Hello"
    streamed = list(complete(client, prompt=prompt, echo=True, stream=True))
    assert streamed[0].choices[0].text == "Hello"
    assert "".join(chunk.choices[0].text for chunk in streamed) == "Hello" + text


def test_the_default_length_is_openais(client: openai.OpenAI):
    assert complete(client, max_tokens=None).usage.completion_tokens == 16


def test_logprobs(say: Say, client: openai.OpenAI):
    say("aéb")
    logprobs = complete(client, logprobs=2).choices[0].logprobs
    assert logprobs.tokens == ["a", "\ufffd", "\ufffd", "b"]
    assert logprobs.text_offset == [0, 1, 1, 2]
    assert np.allclose(logprobs.token_logprobs, 0, atol=1e-6)
    assert all(1 <= len(top) <= 2 for top in logprobs.top_logprobs)  # some are spelled alike
    assert logprobs.top_logprobs[0]["a"] == logprobs.token_logprobs[0]
    say("aéb")
    chunks = list(complete(client, logprobs=0, stream=True))
    told = [chunk.choices[0].logprobs for chunk in chunks]
    assert [token for one in told for token in one.tokens] == ["a", "\ufffd", "\ufffd", "b"]
    assert [offset for one in told for offset in one.text_offset] == [0, 1, 1, 2]
    assert all(one.top_logprobs is None for one in told)


def test_usage_of_a_stream(http: httpx.Client):
    body = {"prompt": "Hello", "max_tokens": 3, "stream": True}
    events = http.post(
        "/v1/completions", json=body | {"stream_options": {"include_usage": True}}
    ).text.split("\n\n")
    assert '"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,' in events[-3]
    assert all(event.endswith('"usage":null}') for event in events[:-3])
    assert events[-2:] == ["data: [DONE]", ""]
    assert '"usage"' not in http.post("/v1/completions", json=body).text


def test_embeddings(server: RunningServer, http: httpx.Client, client: openai.OpenAI):
    vectors_ND = server.llm.embed(["Hello", "Bye"])
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    answer = client.embeddings.create(model="cl-llama", input=["Hello", "Bye"])  # asks for base64
    assert np.allclose([one.embedding for one in answer.data], vectors_ND, atol=1e-6)
    assert [one.index for one in answer.data] == [0, 1]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (8, 8)
    body = {"input": list(b"Bye")}
    floats = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert np.allclose(floats, vectors_ND[1], atol=1e-6)
    text = http.post("/v1/embeddings", json=body | {"encoding_format": "base64"}).json()
    data = base64.b64decode(text["data"][0]["embedding"])
    assert np.array_equal(np.frombuffer(data, "<f4"), np.array(floats, np.float32))


def test_models(server: RunningServer, client: openai.OpenAI):
    [model] = client.models.list().data
    assert model.id == server.service.model_name
    assert model.meta == {
        "max_seq_len": 4096,
        "vocab_size": server.llm.config.vocab_size,
        "device": "",
        "chat": True,
    }
    assert client.models.retrieve(model.id) == model
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("other/model")
    assert raised.value.code == "model_not_found"


def test_tokenize_and_detokenize(http: httpx.Client):
    def tokens(**body: object) -> object:
        return http.post("/tokenize", json={"content": "é<|im_end|>"} | body).json()["tokens"]

    assert tokens() == [0xC3, 0xA9, EOS]
    assert tokens(parse_special=False) == list("é<|im_end|>".encode())
    assert tokens(with_pieces=True) == [
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
        {"id": EOS, "piece": "<|im_end|>"},
    ]
    answer = http.post("/detokenize", json={"tokens": [0xC3, 0xA9, EOS]})
    assert answer.json() == {"content": "é<|im_end|>"}
    answer = http.post("/detokenize", json={"tokens": [-1]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("tokens.0: ")
