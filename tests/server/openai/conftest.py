"""A server of a model that speaks bytes, and OpenAI's own client for it."""

from collections.abc import Callable, Iterator

import httpx
import openai
import pytest

from tests.server.conftest import RunningServer, serving
from tests.server.openai.byte_model import byte_llama


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with byte_llama() as llm, serving(llm) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai_client(server) as client:
        yield client


def openai_client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{server.url}/v1",
        api_key="none",
        max_retries=0,
        timeout=60,
        http_client=httpx.Client(trust_env=False),
    )


Say = Callable[[str], None]


@pytest.fixture
def say(server: RunningServer) -> Iterator[Say]:
    """Makes the model say a text and end, again with every call."""
    yield server.llm.engine.model.say
    server.llm.engine.model.say(None)
