"""A server's life: it answers while the model loads, and stops in good order."""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cl_llama.errors import CheckpointError
from cl_llama.llm import Llama
from cl_llama.server.app import create_app
from cl_llama.server.errors import ListenError
from cl_llama.server.running import Runner, listen, url_of
from cl_llama.server.settings import RLLAMA_PATH, ServerSettings
from tests.server.conftest import paged_llama
from tests.server.test_faults import GREEDY, Gate, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


class Life:
    """A server in the main thread, which signals go to, and its client in another."""

    def __init__(self, grace_seconds: float = 30.0) -> None:
        self.gate = Gate()
        self.app = create_app(None, ServerSettings(grace_seconds=grace_seconds))
        self.may_load = threading.Event()
        self._sockets = listen("127.0.0.1", 0)
        self.url = url_of(self._sockets[0])

    def live(self, client: Callable[[httpx.Client], None]) -> int:
        """Run both to their ends; the exit status."""
        ready: list[Llama] = []
        with ThreadPoolExecutor() as threads:
            running = threads.submit(self._call, client)
            status = Runner(self.app, self._load).run(self._sockets, ready.append)
            running.result()
        assert len(ready) == 1
        return status

    def signal(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    @property
    def state(self) -> str:
        return self.app.state.service.state

    def _load(self, stopped: Callable[[], bool]) -> Llama:
        self.may_load.wait(60)
        return paged_llama(before_forward=self.gate)

    def _call(self, client: Callable[[httpx.Client], None]) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as http:
                client(http)
        finally:
            self.may_load.set()
            self.gate.open()
            if self.state != "draining":  # the client failed before it stopped the server
                self.signal()


def streamed(http: httpx.Client) -> Iterator[dict]:
    body = GREEDY | {"prompt": "Once", "max_new_tokens": 8}
    with http.stream("POST", RLLAMA_PATH, json=body) as answer:
        for line in answer.iter_lines():
            yield json.loads(line)


def test_loads_serves_and_ends_what_runs():
    life = Life()

    def client(http: httpx.Client) -> None:
        health = http.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        early = http.post(RLLAMA_PATH, json={"prompt": "Once"})
        assert (early.status_code, early.headers["retry-after"]) == (503, "2")
        life.may_load.set()
        until(lambda: http.get("/health").status_code == 200)
        life.gate.let(2)
        lines = streamed(http)
        assert "error" not in next(lines)
        life.signal()
        until(lambda: life.state == "draining")
        until(lambda: not accepts(life.url))
        life.gate.open()
        rest = list(lines)
        assert len(rest) == 7 and not any("error" in line for line in rest)

    assert life.live(client) == 0


def test_after_the_grace_period_texts_end_with_an_error():
    life = Life(grace_seconds=0.1)

    def client(http: httpx.Client) -> None:
        life.may_load.set()
        until(lambda: http.get("/health").status_code == 200)
        life.gate.let(2)
        lines = streamed(http)
        next(lines)
        life.signal()
        assert list(lines)[-1] == {"error": "the server is about to stop"}

    assert life.live(client) == 0


def test_a_second_signal_ends_at_once():
    life = Life(grace_seconds=600.0)

    def client(http: httpx.Client) -> None:
        life.may_load.set()
        until(lambda: http.get("/health").status_code == 200)
        life.gate.let(2)
        lines = streamed(http)
        next(lines)
        life.signal()
        until(lambda: life.state == "draining")
        life.signal()
        with contextlib.suppress(httpx.RemoteProtocolError):  # the connection may end first
            assert list(lines)[-1] == {"error": "the server is about to stop"}

    assert life.live(client) == 128 + signal.SIGTERM


def test_a_model_that_does_not_load():
    def load(_: Callable[[], bool]) -> Llama:
        raise CheckpointError("no such model")

    with pytest.raises(CheckpointError, match="no such model"):
        Runner(create_app(None, ServerSettings()), load).run(listen("127.0.0.1", 0), print)


def test_addresses_that_are_not_there():
    with pytest.raises(ListenError, match=r"cannot listen on no-such-host\.invalid:8080: "):
        listen("no-such-host.invalid", 8080)


def accepts(url: str) -> bool:
    try:
        httpx.get(f"{url}/health", trust_env=False, timeout=5)
    except httpx.TransportError:
        return False
    return True
