"""OpenAI's client, a server, and a model on a device: the one that comes along, as a chat."""

import json
from collections.abc import Iterator

import openai
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.llm import Llama
from cl_llama.opencl.devices import DeviceInfo
from tests.server.conftest import RunningServer, serving

MESSAGES = [{"role": "user", "content": "Tell me of a cat."}]


@pytest.fixture(scope="module")
def server(device_infos: list[DeviceInfo]) -> Iterator[RunningServer]:
    found = [one for one in device_infos if one.is_cpu and one.platform.startswith("Intel")]
    if not found:
        pytest.skip("one device is enough: Intel's runtime, which is not among them")
    with (
        Llama.from_pretrained(device=found[0].index, chat_template="chatml") as llm,
        serving(llm) as running,
    ):
        yield running


def test_chat_stream_json_tools_and_text(server: RunningServer, client: openai.OpenAI):
    def ask(**settings: object):
        settings = {"max_tokens": 24, "temperature": 0} | settings
        return client.chat.completions.create(model="cl-llama", messages=MESSAGES, **settings)

    text = server.llm.chat(MESSAGES, SamplingParams(max_new_tokens=24, temperature=0.0)).text
    assert text
    assert ask().choices[0].message.content == text
    chunks = ask(stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text

    schema = {"type": "object", "properties": {"name": {"enum": ["Tom", "Mia"]}}}
    schema |= {"required": ["name"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "cat", "schema": schema}}
    value = json.loads(ask(response_format=form).choices[0].message.content)
    assert value["name"] in ("Tom", "Mia")

    tool = {"type": "function", "function": {"name": "feed", "parameters": schema}}
    settings = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 60}
    [call] = ask(tools=[tool], **settings).choices[0].message.tool_calls
    assert call.function.name == "feed"
    assert json.loads(call.function.arguments)["name"] in ("Tom", "Mia")

    prompt = "Once upon a time"
    params = SamplingParams(max_new_tokens=16, temperature=0.0)
    completion = client.completions.create(model="cl-llama", prompt=prompt, temperature=0)
    assert completion.choices[0].text == server.llm.generate(prompt, params).text
    vector = client.embeddings.create(model="cl-llama", input=prompt).data[0].embedding
    assert len(vector) == server.llm.config.d_model
