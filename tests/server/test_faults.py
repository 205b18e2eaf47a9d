"""What happens when clients leave, wait or do not read, and when the cache or the device fails.

The model's steps wait for the test, so that nothing depends on how fast anything is.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.llm import Llama
from cl_llama.server.settings import RLLAMA_PATH, ServerSettings
from tests.paged_model import PagedModel
from tests.server.conftest import RunningServer, paged_llama
from tests.test_llm import WordTokenizer

PROMPTS = ["Once", "Once upon", " upon a", "hello", "a world", "hello world"]
GREEDY = {"temperature": 0, "stop_at_end_token": False}


class Gate:
    """Lets the model take as many steps as the test says; watches how many texts are in one."""

    def __init__(self) -> None:
        self.most = 0
        self._permits = threading.Semaphore(0)
        self._open = False

    def __call__(self, batch) -> None:
        self.most = max(self.most, len(batch.slices))
        if not self._open:
            self._permits.acquire()

    def let(self, steps: int) -> None:
        self._permits.release(steps)

    def open(self) -> None:
        self._open = True
        self._permits.release()


@pytest.fixture
def gate(serve) -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()  # before the server stops and waits for the model


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has to happen."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def sizes(server: RunningServer) -> int:
    """Texts that the engine has."""
    status = server.llm.engine.status()
    return status.running + status.waiting


def is_idle(server: RunningServer) -> bool:
    """Whether nothing runs, waits or holds blocks any more."""
    status = server.llm.engine.status()
    held = status.running + status.waiting + status.cache_blocks_held
    return held + server.service.line.inside + server.service.line.waiting == 0


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return "".join(key for line in answer.text.splitlines() for key in json.loads(line))


def expected(prompt: str, count: int) -> str:
    params = SamplingParams(temperature=0.0, max_new_tokens=count, stop_token_ids=())
    with paged_llama() as llm:
        return llm.generate(prompt, params).text


def test_a_client_that_goes_away_frees_its_blocks(serve, gate):
    server = serve(paged_llama(before_forward=gate))
    body = GREEDY | {"prompt": "Once upon a", "max_new_tokens": 200}
    gate.let(5)
    with server.client() as client, client.stream("POST", RLLAMA_PATH, json=body) as answer:
        lines = answer.iter_lines()
        assert [bool(next(lines)) for _ in range(5)] == [True] * 5
        assert server.llm.engine.status().cache_blocks_held > 0
    until(lambda: server.service.line.inside == 0)
    gate.let(1)  # the step that it was in
    until(lambda: is_idle(server))
    assert server.llm.engine.status().generated_tokens <= 6


def test_clients_that_go_away_before_their_answer(serve, gate):
    server = serve(paged_llama(before_forward=gate), ServerSettings(max_concurrent=1))
    body = {"model": "cl-llama", "prompt": "Once", "max_tokens": 100, "temperature": 0}
    request = httpx.Request("POST", f"{server.url}/v1/completions", json=body)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {request.url.netloc.decode()}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(request.content)}\r\n\r\n"
    address = ("127.0.0.1", server.port)
    with (
        socket.create_connection(address) as first,  # is being answered
        socket.create_connection(address) as second,  # stands in line
    ):
        first.sendall(head.encode() + request.content)
        until(lambda: server.llm.engine.status().running == 1)
        second.sendall(head.encode() + request.content)
        until(lambda: server.service.line.waiting == 1)
        second.close()
        until(lambda: server.service.line.waiting == 0)
        first.close()
        until(lambda: server.service.line.inside == 0)
    gate.let(1)
    until(lambda: is_idle(server))
    assert server.llm.engine.status().generated_tokens <= 1


def test_a_full_queue(serve, gate):
    server = serve(paged_llama(before_forward=gate), ServerSettings(max_concurrent=1, max_queue=1))
    body = GREEDY | {"max_new_tokens": 8}

    def ask(prompt: str) -> httpx.Response:
        with server.client() as client:
            return client.post(RLLAMA_PATH, json=body | {"prompt": prompt})

    with ThreadPoolExecutor() as threads:
        running = threads.submit(ask, PROMPTS[0])
        until(lambda: server.service.line.inside == 1)
        waiting = threads.submit(ask, PROMPTS[1])
        until(lambda: server.service.line.waiting == 1)
        refused = ask(PROMPTS[2])
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"].startswith("1 requests are being answered and 1 wait")
        gate.open()
        assert text_of(running.result()) == expected(PROMPTS[0], 8)
        assert text_of(waiting.result()) == expected(PROMPTS[1], 8)
    until(lambda: is_idle(server))


def test_the_concurrency_limit_holds(serve, gate):
    server = serve(paged_llama(before_forward=gate), ServerSettings(max_concurrent=2))
    body = GREEDY | {"max_new_tokens": 10}

    def ask(prompt: str) -> str:
        with server.client() as client:
            return text_of(client.post(RLLAMA_PATH, json=body | {"prompt": prompt}))

    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        texts = [threads.submit(ask, prompt) for prompt in PROMPTS]
        until(lambda: server.service.line.waiting == len(PROMPTS) - 2)
        gate.open()
        assert [text.result() for text in texts] == [expected(p, 10) for p in PROMPTS]
    assert gate.most == 2


def test_a_full_cache(serve, gate):
    # Any text fits alone, no two of them do to their ends.
    server = serve(paged_llama(num_blocks=12, block_size=4, before_forward=gate))
    body = GREEDY | {"max_new_tokens": 36}

    def ask(prompt: str) -> str:
        with server.client() as client:
            return text_of(client.post(RLLAMA_PATH, json=body | {"prompt": prompt}))

    with ThreadPoolExecutor(len(PROMPTS)) as threads:
        asked = [threads.submit(ask, prompt) for prompt in PROMPTS]
        until(lambda: sizes(server) == len(PROMPTS))
        gate.open()
        texts = [text.result() for text in asked]
    assert texts == [expected(prompt, 36) for prompt in PROMPTS]
    until(lambda: is_idle(server))
    assert server.llm.engine.status().preemptions > 0


@pytest.mark.parametrize("streamed_first", [False, True])
def test_an_error_of_the_device(serve, streamed_first):
    steps = 0

    def fail(_) -> None:
        nonlocal steps
        steps += 1
        if steps == (4 if streamed_first else 1):
            raise RuntimeError("clEnqueueNDRangeKernel failed: OUT_OF_RESOURCES")

    server = serve(paged_llama(before_forward=fail))
    body = GREEDY | {"prompt": "Once", "max_new_tokens": 8}
    with server.client() as client:
        answer = client.post(RLLAMA_PATH, json=body)
        if streamed_first:
            *tokens, last = answer.text.splitlines()
            assert (answer.status_code, len(tokens)) == (200, 3)
            message = json.loads(last)["error"]
        else:
            assert answer.status_code == 500
            message = answer.json()["error"]
        assert "OUT_OF_RESOURCES" in message and "\n" not in message
        until(lambda: client.get("/health").status_code == 200)
        assert text_of(client.post(RLLAMA_PATH, json=body)) == expected("Once", 8)
    until(lambda: is_idle(server))


def test_an_answer_that_takes_too_long(serve, gate):
    server = serve(paged_llama(before_forward=gate), ServerSettings(request_timeout=2.0))
    body = {"model": "cl-llama", "prompt": "Once", "max_tokens": 8}
    with server.client() as client:
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 504
        assert "--request-timeout" in answer.json()["error"]["message"]
        gate.let(2)
        streamed = client.post(RLLAMA_PATH, json=GREEDY | {"prompt": "Once"})
        assert streamed.status_code == 200
        assert "--request-timeout" in json.loads(streamed.text.splitlines()[-1])["error"]
    gate.open()
    until(lambda: is_idle(server))


@pytest.mark.parametrize(
    "limits",
    [{"idle_timeout": 1.0}, {"request_timeout": 3.0, "idle_timeout": 600.0}],
    ids=["idle", "too long"],
)
def test_a_client_that_does_not_read(serve, monkeypatch, limits):
    monkeypatch.setattr("cl_llama.server.exchange.LAST_WORDS", 0.2)
    monkeypatch.setattr("cl_llama.server.rllama.endpoint.ROWS_BYTES", 10 * 4 * 4000)
    size = 4000  # a line of all their probabilities is larger than what a connection buffers
    model = PagedModel(vocab_size=size, num_blocks=64)
    server = serve(Llama(model, WordTokenizer(size=size)), ServerSettings(**limits))
    body = json.dumps(GREEDY | {"prompt": "Once", "no_token_sampling": True}).encode()
    head = f"POST {RLLAMA_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: server.service.line.inside == 1)
        with server.client() as client:  # nobody else waits for it
            other = client.post(RLLAMA_PATH, json=GREEDY | {"prompt": "Once", "max_new_tokens": 3})
            assert len(other.text.splitlines()) == 3
        until(lambda: is_idle(server))
        assert server.llm.engine.status().generated_tokens < 256
