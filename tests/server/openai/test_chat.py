"""/v1/chat/completions, with OpenAI's client and with plain HTTP."""

import json
import math
from dataclasses import fields
from typing import Literal

import httpx
import openai
import pytest
from pydantic import BaseModel, Field

from cl_llama.engine.params import SamplingParams
from cl_llama.server.openai.chat_models import ChatRequest
from tests.server.conftest import RunningServer
from tests.server.openai.byte_model import EOS
from tests.server.openai.conftest import Say

MESSAGES = [{"role": "user", "content": "Hello"}]


def greedy(**settings: object) -> SamplingParams:
    return SamplingParams(max_new_tokens=12, temperature=0.0, **settings)


def ask(client: openai.OpenAI, **settings: object):
    settings = {"messages": MESSAGES, "temperature": 0, "max_tokens": 12} | settings
    return client.chat.completions.create(model="cl-llama", **settings)


def test_an_answer(server: RunningServer, client: openai.OpenAI):
    expected = server.llm.chat(MESSAGES, greedy())
    answer = ask(client)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert answer.model == server.service.model_name
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == expected.text
    assert choice.message.tool_calls is None
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "length", None)
    usage = answer.usage
    assert usage.prompt_tokens == len(expected.prompt_token_ids)
    assert (usage.completion_tokens, usage.total_tokens) == (12, usage.prompt_tokens + 12)
    assert usage.prompt_tokens_details.cached_tokens == 16  # one block, by the answer before
    assert answer.timings["seconds_to_first_token"] > 0


def test_a_stream(server: RunningServer, client: openai.OpenAI):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert all(delta.role is None for delta in deltas[1:])
    expected = server.llm.chat(MESSAGES, greedy())
    assert "".join(delta.content or "" for delta in deltas) == expected.text
    reasons = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert reasons == [None] * (len(reasons) - 1) + ["length"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 12
    assert chunks[-1].timings["queue_seconds"] >= 0


def test_the_bytes_of_a_stream(say: Say, http: httpx.Client):
    say("Hi é")
    body = {"messages": MESSAGES, "stream": True}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = answer.content.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    first = json.loads(events[0].removeprefix(b"data: "))
    head = f'"id":"{first["id"]}","object":"chat.completion.chunk","created":{first["created"]}'

    def chunk(delta: str, reason: str = "null") -> bytes:
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'
        return f'data: {{{head},"model":"cl-llama","choices":[{choice}]}}'.encode()

    assert events[:-2] == [
        chunk('{"role":"assistant","content":""}'),
        *(chunk(f'{{"content":"{character}"}}') for character in "Hi é"),
        chunk("{}", '"stop"'),
    ]


def test_several_answers(server: RunningServer, client: openai.OpenAI):
    settings = {"n": 3, "seed": 7, "temperature": 1, "max_tokens": 20}
    answer = ask(client, **settings)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert texts == [
        server.llm.chat(MESSAGES, SamplingParams(max_new_tokens=20, seed=seed)).text
        for seed in (7, 8, 9)
    ]
    assert answer.usage.completion_tokens == 60
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 60
    streamed = ["", "", ""]
    for chunk in ask(client, stream=True, **settings):
        [choice] = chunk.choices
        streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_stop_strings_and_end_tokens(say: Say, client: openai.OpenAI):
    say("one two three")
    choice = ask(client, stop="two", max_tokens=None).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one ", "stop")
    say("one two three")
    stops = [f"none {i}" for i in range(5)] + ["three", "wo"]
    choice = ask(client, stop=stops, max_tokens=None).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one t", "stop")
    say("one two three")
    choice = ask(client, max_tokens=None).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one two three", "stop")
    say("one two three")
    choice = ask(client, max_completion_tokens=4, max_tokens=None).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one ", "length")


def test_logprobs(say: Say, client: openai.OpenAI):
    say("aé")
    answer = ask(client, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert [token.bytes for token in tokens] == [[97], [0xC3], [0xA9]]  # the end is no part of it
    assert [token.token for token in tokens] == ["a", "\ufffd", "\ufffd"]
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].bytes == token.bytes
        assert math.isclose(token.logprob, 0, abs_tol=1e-6)
        assert token.top_logprobs[1].logprob < -40
    say("aé")
    streamed = [
        token.bytes
        for chunk in ask(client, logprobs=True, stream=True)
        if chunk.choices[0].logprobs is not None
        for token in chunk.choices[0].logprobs.content
    ]
    assert streamed == [[97], [0xC3], [0xA9]]


def test_biases_and_our_own_samplers(server: RunningServer, client: openai.OpenAI):
    choice = ask(client, logit_bias={"65": 100, "66": 90}, max_tokens=4).choices[0]
    assert choice.message.content == "AAAA"
    params = SamplingParams(
        max_new_tokens=12, seed=1, top_k=3, min_p=0.1, repetition_penalty=1.5, presence_penalty=1.5
    )
    own = {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5}
    answer = ask(client, temperature=None, seed=1, presence_penalty=1.5, extra_body=own)
    assert answer.choices[0].message.content == server.llm.chat(MESSAGES, params).text
    answer = ask(client, extra_body={"stop_token_ids": [65]}, logit_bias={"65": 100})
    assert (answer.choices[0].message.content, answer.usage.completion_tokens) == ("", 1)


def test_every_sampling_parameter_is_a_field():
    own = {field.name for field in fields(SamplingParams)}
    # The one has OpenAI's names; what the other asks for, the answers have no place for.
    assert own - ChatRequest.model_fields.keys() == {"max_new_tokens", "logits"}
    values = {"typical_p": 0.9, "xtc_probability": 0.5, "mirostat": 2, "dry_multiplier": 0.8}
    request = ChatRequest(messages=MESSAGES, **values)
    assert request.sampling_params() == SamplingParams(**values)


def test_roles_and_parts(server: RunningServer, client: openai.OpenAI):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    expected = server.llm.chat_prompt(
        [{"role": "system", "content": "Be"}, {"role": "user", "content": "a\nb"}]
    )
    answer = ask(client, messages=messages)
    assert answer.usage.prompt_tokens == len(server.llm.prompt_ids(expected))
    prompt = server.llm.stream(expected, greedy(stop_token_ids=(EOS,)))
    assert answer.choices[0].message.content == "".join(piece.text for piece in prompt)


@pytest.mark.parametrize("stream", [False, True])
def test_json(server: RunningServer, client: openai.OpenAI, stream: bool):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["red", "green"]}},
        "required": ["ok", "kind"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    settings = {"response_format": wanted, "max_tokens": 200, "temperature": 1, "seed": 3}
    answer = ask(client, stream=stream, **settings)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        assert answer.choices[0].finish_reason == "stop"
        text = answer.choices[0].message.content
    value = json.loads(text)
    assert value.keys() == {"ok", "kind"}
    assert value["ok"] in (True, False) and value["kind"] in ("red", "green")


def test_json_object_and_grammars(say: Say, client: openai.OpenAI):
    say('no, {"a": 1}, really')
    choice = ask(client, response_format={"type": "json_object"}, max_tokens=1).choices[0]
    assert choice.message.content == "{"
    for own in ({"guided_regex": "(ab){3}"}, {"grammar": 'root ::= "ababab"'}):
        choice = ask(client, extra_body=own).choices[0]
        assert (choice.message.content, choice.finish_reason) == ("ababab", "stop")
    choice = ask(client, extra_body={"grammar": 'start: "x" | "y"'}).choices[0]
    assert choice.message.content in ("x", "y")


class Cat(BaseModel):
    name: Literal["Tom", "Mia"]
    likes: list[Literal["fish", "milk"]] = Field(max_length=2)


class Cats(BaseModel):
    first: Cat
    second: Cat | None


def test_the_helpers_of_openais_client(client: openai.OpenAI):
    settings = {"model": "cl-llama", "messages": MESSAGES, "seed": 2, "max_tokens": 400}
    answer = client.chat.completions.parse(response_format=Cats, **settings)
    cats = answer.choices[0].message.parsed
    assert isinstance(cats, Cats) and cats.first.name in ("Tom", "Mia")
    with client.chat.completions.stream(response_format=Cats, **settings) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.parsed == cats
    assert {"chunk", "content.delta", "content.done"} <= kinds
    tool = openai.pydantic_function_tool(Cat)
    settings |= {"tool_choice": "required", "parallel_tool_calls": False}
    answer = client.chat.completions.parse(tools=[tool], **settings)
    [call] = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Cat)
    with client.chat.completions.stream(tools=[tool], **settings) as stream:
        for _ in stream:
            pass
        [streamed] = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.parsed_arguments == call.function.parsed_arguments
