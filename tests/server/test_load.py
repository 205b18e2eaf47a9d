"""Many clients at once: each gets the text that it gets alone, and nothing is left behind."""

import asyncio
import json
import random
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from cl_llama.llm import Llama
from tests.server.conftest import RunningServer, Serve, paged_llama
from tests.server.test_serve_command import started

CLIENTS = 64
QUESTIONS = [
    {
        "prompt": [3 + (7 * i + j * j) % 20 for j in range(1 + 5 * i % 43)],
        "max_tokens": 4 + 11 * i % 37,
        "temperature": i % 3 / 2,
        "seed": i,
        "stop_token_ids": [],
    }
    for i in range(16)
]
GROWTH_MIB = 20


@pytest.mark.parametrize("num_blocks", [40, 256])
def test_many_clients_get_what_each_gets_alone(serve: Serve, num_blocks: int):
    """A quarter of them hang up in the middle; with 40 blocks the cache is full all the time."""
    gate = threading.Event()
    model_waits = {"before_forward": lambda batch: gate.wait(60)}
    server = serve(paged_llama(num_blocks=num_blocks, **model_waits))
    gate.set()
    with server.client() as client:
        alone = [text_of(client.post("/v1/completions", json=q)) for q in QUESTIONS]
    gate.clear()
    texts = asyncio.run(all_at_once(server, gate))
    assert len(texts) == CLIENTS - CLIENTS // 4
    for question, text in texts:
        assert text == alone[question]
    await_idle(server.llm)
    assert server.llm.engine.status().cache_blocks_held == 0
    if num_blocks == 40:
        assert server.llm.engine.status().preemptions > 0


async def all_at_once(server: RunningServer, gate: threading.Event) -> list[tuple[int, str]]:
    """Numbers of questions and the texts that came, of the clients that stayed.

    The model waits at the gate until it has a full batch.
    """
    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(
        base_url=server.url, timeout=60, trust_env=False, limits=limits
    ) as client:

        async def one(number: int) -> tuple[int, str] | None:
            question = number % len(QUESTIONS)
            body = QUESTIONS[question]
            if number % 4 == 3:
                await hang_up(client, body, after=1 + number % 3)
                return None
            if number % 2:
                return question, text_of(await client.post("/v1/completions", json=body))
            return question, await streamed(client, body)

        async def open_gate() -> None:
            status = server.llm.engine.status()
            while status.running + status.waiting < 32:
                await asyncio.sleep(0.005)
                status = server.llm.engine.status()
            gate.set()

        opening = asyncio.create_task(open_gate())
        answers = await asyncio.gather(*map(one, range(CLIENTS)))
        await opening
        return [answer for answer in answers if answer is not None]


async def streamed(client: httpx.AsyncClient, body: dict) -> str:
    text = ""
    async with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["text"]
    return text


async def hang_up(client: httpx.AsyncClient, body: dict, after: int) -> None:
    """Close the connection after so many events."""
    endless = body | {"stream": True, "max_tokens": 200}
    async with client.stream("POST", "/v1/completions", json=endless) as answer:
        async for line in answer.aiter_lines():
            after -= line.startswith("data: {")
            if after == 0:
                return


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def await_idle(llm: Llama) -> None:
    """Wait until the engine has noticed that everybody is gone."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status = llm.engine.status()
        if status.running == status.waiting == 0:
            return
        time.sleep(0.01)
    raise AssertionError(status)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see memory")
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")
def test_memory_does_not_grow(device_infos):
    """The embedded model behind `cl-llama serve`: resident memory after 500 and 2,000 requests."""
    if not device_infos:
        pytest.skip("no OpenCL device")
    device = str(device_infos[0].index)
    with started("serve", "--port", "0", "--opencl-device", device) as (process, url):
        drawn = random.Random(0)
        asyncio.run(largest_steps(url))
        asyncio.run(answered(url, 500, drawn))
        before = resident_mib(process.pid)
        asyncio.run(answered(url, 1500, drawn))
        growth = resident_mib(process.pid) - before
        assert growth < GROWTH_MIB, (before, growth)


async def largest_steps(url: str) -> None:
    """Full batches of long prompts: kernels and scratch arrays are there from then on."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        bodies = [{"prompt": [3 + i] * 400, "max_tokens": 40, "seed": i} for i in range(32)]
        posts = (client.post("/v1/completions", json=body) for body in bodies)
        for answer in await asyncio.gather(*posts):
            text_of(answer)


async def answered(url: str, count: int, drawn: random.Random) -> None:
    """So many requests of 16 clients, each its own, some of them given up."""
    queue = iter(range(count))
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:

        async def one() -> None:
            for number in queue:
                prompt = [drawn.randrange(3, 2000) for _ in range(drawn.randrange(1, 60))]
                body = {"prompt": prompt, "max_tokens": drawn.randrange(1, 8), "seed": number}
                if number % 4 == 3:
                    await hang_up(client, body, after=1)
                else:
                    text_of(await client.post("/v1/completions", json=body))

        await asyncio.gather(*(one() for _ in range(16)))


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
