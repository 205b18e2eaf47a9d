"""Requests that cannot be served: one line in OpenAI's shape, with the field that is to blame."""

import json
import socket
import threading
import time
from collections.abc import Callable

import httpx
import openai
import pytest

from cl_llama.llm import Llama
from cl_llama.server.settings import ServerSettings
from tests.paged_model import PagedModel
from tests.server.conftest import Serve
from tests.server.openai.byte_model import VOCAB_SIZE, ByteTokenizer, byte_llama
from tests.server.openai.conftest import openai_client

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
TEXT = {"prompt": "Hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def schema(value: object, **settings: object) -> dict[str, object]:
    wanted = {"name": "x", "schema": value, **settings}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {"type": "integer"}
    for _ in range(depth):
        value = {"properties": {"a": value}}
    return value


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role", "'system'"),
        ({"messages": [{"role": "user"}]}, "messages", "a message of role 'user' has a content"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages", "only text is read"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0, got -1"),
        ({"top_p": "x"}, "top_p", "valid number"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"stop": [""]}, "stop", "stop must be a string or several, none of them empty"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x", "match pattern"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "valid string"),
        ({"messages": [{"content": ""}]}, "messages.0.role", "field required"),
        ({"stop": 3}, "stop", "valid string"),
        ({"logit_bias": {"999999": 1}}, None, "token id 999999 is not in the vocabulary"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs to be true"),
        ({"stream_options": {}}, "stream_options", "needs stream to be true"),
        ({"audio": {"voice": "x"}}, "audio", "audio is not supported"),
        ({"functions": [{}]}, "functions", "functions is not supported; use tools"),
        ({"modalities": ["audio"]}, "modalities", 'expected ["text"]'),
        ({"chat_template_kwargs": {"tools": 1}}, "chat_template_kwargs", "tools comes from"),
        ({"response_format": {"type": "xml"}}, "response_format", "json_schema"),
        (schema({"type": "strange"}), "response_format", "Invalid type: strange"),
        (schema({"not": {}}, strict=True), "response_format", 'Unimplemented keys: ["not"]'),
        (schema(nested(100)), "response_format", "recursion limit exceeded"),
        (schema(nested(450)), "response_format", "a JSON schema is nested too deeply"),
        ({"guided_regex": "("}, "guided_regex", "unclosed group"),
        ({"guided_regex": "a", "grammar": "b"}, "guided_regex", "an answer has one form only"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools to call"),
        ({"model": "gpt-9"}, "model", "the model 'gpt-9' is not served here"),
    ],
)
def test_chats(http: httpx.Client, body: dict[str, object], param: str | None, message: str):
    answer = http.post("/v1/chat/completions", json=CHAT | body)
    error = answer.json()["error"]
    assert message in error["message"] and "\n" not in error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error.keys() == {"message", "type", "param", "code"}
    assert answer.status_code == (404 if param == "model" else 400)
    assert error["code"] == ("model_not_found" if param == "model" else None)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"suffix": "!"}, "suffix", "suffix is not supported"),
        ({"best_of": 3}, "best_of", "ask for n texts"),
        ({"echo": True, "logprobs": 1}, "logprobs", "leave one out"),
        ({"prompt": []}, "prompt", "at least 1 item"),
        ({"prompt": {}}, "prompt", "valid string"),
        ({"prompt": ["a", "b", "c"], "n": 100}, "prompt", "256 texts, not for 3 times 100"),
        ({"prompt": [VOCAB_SIZE]}, None, f"token id {VOCAB_SIZE} is not in the vocabulary"),
    ],
)
def test_completions(http: httpx.Client, body: dict[str, object], param: str | None, message: str):
    answer = http.post("/v1/completions", json=TEXT | body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["param"] == param


def test_bodies_that_are_no_json(http: httpx.Client):
    json_type = {"Content-Type": "application/json"}
    for body, headers, status, message in (
        (b'{"prompt": ', json_type, 400, "the request's body is no JSON"),
        (b"[]", json_type, 400, "the body: input should be a valid dictionary"),
        (b'{"prompt": "a"}', {}, 415, "the header Content-Type must be application/json"),
    ):
        answer = http.post("/v1/completions", content=body, headers=headers)
        assert answer.status_code == status
        assert answer.json()["error"]["message"].startswith(message)


def test_dimensions(http: httpx.Client):
    answer = http.post("/v1/embeddings", json={"input": "a", "dimensions": 3})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "dimensions")


@pytest.mark.parametrize("stream", [False, True])
def test_a_context_that_is_too_long(client: openai.OpenAI, stream: bool):
    messages = [{"role": "user", "content": "a" * 5000}]
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="cl-llama", messages=messages, stream=stream)
    assert raised.value.code == "context_length_exceeded"
    assert "the context has room for 4096" in raised.value.message
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model="cl-llama", input=["a" * 5000])
    assert raised.value.code == "context_length_exceeded"


def test_a_model_without_a_template(serve: Serve):
    server = serve(byte_llama(template=None))
    with server.client() as http, openai_client(server) as client:
        answer = http.post("/v1/chat/completions", json=CHAT)
        assert answer.status_code == 400
        assert "brings no chat template" in answer.json()["error"]["message"]
        assert client.models.list().data[0].meta["chat"] is False
        assert http.post("/v1/completions", json=TEXT).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_an_error_within_a_stream_is_its_last_event(serve: Serve, path: str):
    failing = threading.Event()

    def fail(batch: object) -> None:
        if failing.is_set():
            raise OSError("lost the device")
        if all(part.start for part in batch.slices):
            failing.set()

    model = PagedModel(num_blocks=64, block_size=16, vocab_size=VOCAB_SIZE, before_forward=fail)
    with byte_llama() as other:
        server = serve(Llama(model, ByteTokenizer(), chat_template=other.chat_template))
        with server.client() as http:
            body = {**CHAT, **TEXT, "max_tokens": 100, "stream": True, "temperature": 0}
            body["logit_bias"] = {"65": 100}
            events = http.post(path, json=body).text.split("\n\n")
        error = (
            '"message":"the forward pass failed: OSError: lost the device","type":"server_error"'
        )
        assert events[-2] == f'data: {{"error":{{{error},"param":null,"code":null}}}}'
        assert events[-1] == ""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_a_client_that_leaves_ends_all_its_texts(serve: Serve, stream: bool, count: int):
    begun, left = threading.Event(), threading.Event()

    def wait(batch: object) -> None:
        begun.set()
        assert left.wait(60)

    model = PagedModel(num_blocks=64, block_size=16, vocab_size=VOCAB_SIZE, before_forward=wait)
    server = serve(Llama(model, ByteTokenizer(), end_ids=()))
    body = json.dumps(TEXT | {"n": count, "max_tokens": 200, "stream": stream})
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    def running() -> int:
        status = server.llm.engine.status()
        return status.running + status.waiting

    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + body.encode())
        assert begun.wait(60)
        wait_until(lambda: running() == count)
    wait_until(lambda: not server.service.line.inside)
    left.set()
    wait_until(lambda: running() == 0)
    wait_until(lambda: server.llm.engine.status().cache_blocks_held == 0)
    assert server.llm.engine.status().generated_tokens <= 2 * count


def test_a_full_queue(serve: Serve):
    settings = ServerSettings(max_queue=0, max_concurrent=1)
    begun, go_on = threading.Event(), threading.Event()

    def wait(batch: object) -> None:
        begun.set()
        assert go_on.wait(60)

    model = PagedModel(num_blocks=64, block_size=16, vocab_size=VOCAB_SIZE, before_forward=wait)
    server = serve(Llama(model, ByteTokenizer()), settings)
    with server.client() as http, openai_client(server) as client:
        first = threading.Thread(target=lambda: http.post("/v1/completions", json=TEXT))
        first.start()
        assert begun.wait(60)
        with pytest.raises(openai.RateLimitError) as raised:
            client.completions.create(model="cl-llama", prompt="b")
        assert raised.value.response.headers["retry-after"]
        go_on.set()
        first.join(60)
