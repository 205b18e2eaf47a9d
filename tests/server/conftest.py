"""A server on a free port of the loopback device, in a thread of this process."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from cl_llama.llm import Llama
from cl_llama.server.app import create_app
from cl_llama.server.running import server_config
from cl_llama.server.service import Service
from cl_llama.server.settings import ServerSettings
from tests.paged_model import PagedModel
from tests.test_llm import EOS, VOCABULARY, WordTokenizer


@dataclass(frozen=True)
class RunningServer:
    """A server that answers at `url`."""

    url: str
    llm: Llama
    app: FastAPI

    @property
    def service(self) -> Service:
        return self.app.state.service

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **settings: object) -> httpx.Client:
        """Talks to the server; close it."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **settings)


@contextmanager
def serving(llm: Llama, settings: ServerSettings | None = None) -> Iterator[RunningServer]:
    """Serve a model until the context ends; the model stays open."""
    settings = settings or ServerSettings(grace_seconds=5.0)
    app = create_app(llm, settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(server_config(app, settings))
        failures: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(server.serve(sockets=[listener]))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="test server")
        thread.start()
        url = f"http://127.0.0.1:{port}"
        try:
            httpx.get(f"{url}/health", timeout=60, trust_env=False).raise_for_status()
            yield RunningServer(url, llm, app)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive() and not failures, failures


Serve = Callable[..., RunningServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves models; the servers stop after the test, then the models are closed."""
    with ExitStack() as stack:

        def start(llm: Llama, settings: ServerSettings | None = None) -> RunningServer:
            stack.enter_context(llm)
            return stack.enter_context(serving(llm, settings))

        yield start


def paged_llama(**changes: object) -> Llama:
    """A model without OpenCL whose every logit depends on all tokens before; it speaks words."""
    settings: dict[str, object] = {"vocab_size": len(VOCABULARY), "num_blocks": 64}
    llama_settings = {
        name: changes.pop(name)
        for name in ("max_seq_len", "chat_template", "max_waiting", "prefix_cache")
        if name in changes
    }
    model = PagedModel(**(settings | changes))
    return Llama(model, WordTokenizer(), end_ids=(EOS,), **llama_settings)
