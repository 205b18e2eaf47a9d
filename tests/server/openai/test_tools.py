"""Functions that a model calls, with OpenAI's client."""

import json
from collections.abc import Iterator

import openai
import pytest

from tests.server.conftest import RunningServer, serving
from tests.server.openai.byte_model import byte_llama
from tests.server.openai.conftest import Say

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Köln", "Rom"]}, "days": {"enum": [1, 2]}},
                "required": ["city", "days"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "stop"}},
]
NAMED = {"type": "function", "function": {"name": "look_up"}}
# Templates that write tools and calls as families of models have them, and nothing else.
MISTRAL = """\
{%- for message in messages %}{% for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception('an id has nine characters') }}{% endif %}
{{- '[TOOL_CALLS][{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson + ', "id": "' + call.id + '"}]' }}
{%- endfor %}{{ message.content }}{% endfor %}{{ tools | tojson }}"""
LLAMA = """\
{%- for message in messages %}{% for call in message.tool_calls %}
{{- '{"name": "' + call.function.name + '", "parameters": ' }}
{{- call.function.arguments | tojson + '}' }}
{%- endfor %}{{ message.content }}{% endfor %}{{ tools | tojson }}"""


@pytest.fixture(scope="module", params=["chatml", "mistral", "llama"])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server of each family; ChatML's template knows of no tools."""
    templates = {"mistral": MISTRAL, "llama": LLAMA}
    settings = {"template": templates[request.param]} if request.param in templates else {}
    with byte_llama(**settings) as llm, serving(llm) as running:
        yield running


@pytest.fixture
def family(server: RunningServer, request: pytest.FixtureRequest) -> str:
    return request.node.callspec.params["server"]


def ask(client: openai.OpenAI, **settings: object):
    settings = {
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": TOOLS,
        "seed": 1,
        "max_tokens": 300,
        "parallel_tool_calls": False,
    } | settings
    return client.chat.completions.create(model="cl-llama", **settings)


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_any_model_makes_valid_calls(client: openai.OpenAI, family: str, choice: object):
    for seed in range(3):
        answer = ask(client, tool_choice=choice, seed=seed).choices[0]
        assert answer.finish_reason == "tool_calls"
        assert answer.message.content is None
        [call] = answer.message.tool_calls
        assert len(call.id) == (9 if family == "mistral" else 29)
        arguments = json.loads(call.function.arguments)
        if choice is NAMED or call.function.name == "look_up":
            assert call.function.name == "look_up"
            assert arguments["city"] in ("Köln", "Rom") and arguments["days"] in (1, 2)
        else:
            assert (call.function.name, arguments) == ("stop", {})


def test_a_stream_of_calls(client: openai.OpenAI):
    whole = ask(client, tool_choice=NAMED).choices[0].message.tool_calls[0]
    chunks = [chunk.choices[0] for chunk in ask(client, tool_choice=NAMED, stream=True)]
    deltas = [chunk.delta.tool_calls[0] for chunk in chunks if chunk.delta.tool_calls]
    first, *rest = deltas
    assert (first.type, first.function.name, first.function.arguments) == (
        "function",
        "look_up",
        "",
    )
    assert len(first.id) == len(whole.id)
    assert all(delta.index == 0 for delta in deltas)
    assert all(delta.id is None and delta.function.name is None for delta in rest)
    assert "".join(delta.function.arguments for delta in rest) == whole.function.arguments
    assert len(rest) > 10  # as they came
    assert "".join(chunk.delta.content or "" for chunk in chunks) == ""
    assert chunks[-1].finish_reason == "tool_calls"


def test_the_model_decides(client: openai.OpenAI, family: str, say: Say):
    calls = {
        "chatml": "Well, \n<tool_call>\n{}\n</tool_call>",
        "mistral": "Well, \n[TOOL_CALLS][{}]",
        "llama": "Well, \n<|python_tag|>{}",
    }[family].format
    key = "parameters" if family == "llama" else "arguments"
    written = calls(f'{{"name": "look_up", "{key}": {{"city": "Köln", "days": 2}}}}')
    say(written)
    message = ask(client).choices[0].message
    assert message.content == "Well, \n"
    [call] = message.tool_calls
    assert call.function.name == "look_up"
    assert call.function.arguments == '{"city": "Köln", "days": 2}'
    say(written)
    chunks = [chunk.choices[0].delta for chunk in ask(client, stream=True)]
    assert "".join(chunk.content or "" for chunk in chunks) == "Well, \n"
    parts = [chunk.tool_calls[0].function for chunk in chunks if chunk.tool_calls]
    assert "".join(part.arguments for part in parts) == call.function.arguments
    say(f'{{"name": "look_up", "{key}": {{"city": "Bonn"}}}}')
    wrong = ask(client).choices[0]
    if family == "llama":  # which cannot say so: a brace begins a call
        assert json.loads(wrong.message.tool_calls[0].function.arguments)["city"] != "Bonn"
    else:
        assert wrong.message.tool_calls is None
        assert wrong.message.content.endswith('"Bonn"}}') and wrong.finish_reason == "stop"
    say("Just text.")
    answer = ask(client).choices[0]
    assert (answer.message.content, answer.finish_reason) == ("Just text.", "stop")
    assert answer.message.tool_calls is None
    say(written)
    answer = ask(client, tool_choice="none").choices[0]
    assert answer.message.tool_calls is None and "look_up" in answer.message.content


def test_several_calls(client: openai.OpenAI, family: str, say: Say):
    key = "parameters" if family == "llama" else "arguments"
    one, two = (
        f'{{"name": "{name}", "{key}": {arguments}}}'
        for name, arguments in (("look_up", '{"city":"Rom","days":1}'), ("stop", "{}"))
    )
    say(
        {
            "chatml": f"<tool_call>\n{one}\n</tool_call>\n<tool_call>\n{two}\n</tool_call>",
            "mistral": f"[TOOL_CALLS][{one}, {two}]",
            "llama": f"{one}; {two}",
        }[family]
    )
    message = ask(client, parallel_tool_calls=True).choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["look_up", "stop"]
    assert len({call.id for call in message.tool_calls}) == 2


def test_a_conversation_goes_on_after_calls(server: RunningServer, client: openai.OpenAI):
    question = {"role": "user", "content": "How about Bonn?"}
    function = {"name": "look_up", "arguments": '{"city":"Bonn","days":7}'}
    call = {"id": "abcdef123", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    batches = server.llm.engine.model.batches
    batches.clear()
    ask(client, messages=[question, message, result], max_tokens=1)
    read = server.llm.tokenizer.decode([i for batch in batches for i in batch.slices[0].token_ids])
    assert 0 < read.index('{"city": "Bonn", "days": 7}') < read.index("sunny")


def test_calls_that_are_cut_short(client: openai.OpenAI):
    whole = ask(client, tool_choice=NAMED)
    count = whole.usage.completion_tokens
    cut = ask(client, tool_choice=NAMED, max_tokens=count - 30).choices[0]
    assert cut.finish_reason == "length"
    arguments = cut.message.tool_calls[0].function.arguments if cut.message.tool_calls else ""
    assert whole.choices[0].message.tool_calls[0].function.arguments.startswith(arguments)


@pytest.mark.parametrize(
    ("settings", "param", "message"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "'x'"),
        ({"tools": [{"type": "other"}]}, "tools.0.type", "'function'"),
        (
            {"response_format": {"type": "json_object"}},
            "response_format",
            "bound by one of them only",
        ),
        (
            {
                "tools": [
                    TOOLS[1],
                    {
                        "type": "function",
                        "function": {"name": "bad", "parameters": {"properties": {"a": 3}}},
                    },
                ]
            },
            "tools",
            "parameters of bad: ",
        ),
    ],
)
def test_misuse(client: openai.OpenAI, settings: dict[str, object], param: str, message: str):
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client, **settings)
    assert raised.value.param == param
    assert message in raised.value.message
