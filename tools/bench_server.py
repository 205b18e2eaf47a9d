"""Measures servers of OpenAI's API: many clients at once, and prompts that begin alike.

    python tools/bench_server.py --folder ./TinyLlama-1.1B --clients 1,4,16
    python tools/bench_server.py --folder ./TinyLlama-1.1B --gguf model.gguf \\
        --python ~/peers/bin/python

Starts `cl-llama serve` with the model of --folder, or the embedded one, and, with --gguf,
llama-cpp-python's server with that file in the Python environment that --python names. Clients
write a text of --tokens tokens each, all at once, after prompts that have nothing in common; a
repetition measures every number of clients on every server before the next begins, because a
machine's speed drifts. Then the time to the first token of a prompt of --prefix tokens and some
more, when the prefix is new and when another prompt has begun with it. Prompts are random common
words, as many as have about those tokens; end tokens are forbidden by a bias on servers that
know nothing better. A server waits, idle, while another one is measured. The last line of standard
output is JSON with --json.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.table import Table

_PATIENCE = 300.0
"""Seconds that a server may take to load."""
_WORDS = ("time", "year", "people", "way", "day", "life", "child", "world", "house", "story")
_TAIL = 16
"""Tokens that follow a shared prefix."""
_WARM_UP = 4
"""Tokens of each text before the measurement."""


class ServerError(Exception):
    """A server that does not start or does not answer; the message is its reason."""


@dataclass
class Server:
    """A server's process, and what was measured."""

    name: str
    command: list[str]
    body: dict[str, Any]
    """Fields of every request."""
    port: int
    rates: dict[int, list[float]] = field(default_factory=dict)
    """Tokens a second of all clients together, by their number."""
    first: dict[str, list[float]] = field(default_factory=dict)
    """Seconds to the first token: "new" prefixes and "shared" ones."""
    process: "subprocess.Popen[bytes] | None" = None

    async def start(self) -> None:
        """Start it and wait until it answers; ServerError if it does not."""
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _PATIENCE
        async with self.client() as client:
            while time.monotonic() < end:
                if self.process.poll() is not None:
                    raise ServerError(f"{self.name} ended with status {self.process.returncode}")
                try:
                    if (await client.get("/v1/models")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.2)
        raise ServerError(f"{self.name} does not answer within {_PATIENCE:.0f} s")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def client(self) -> httpx.AsyncClient:
        """A connection pool of its own."""
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=_PATIENCE)

    async def text(self, client: httpx.AsyncClient, prompt: str, tokens: int) -> int:
        """Tokens that were written after a prompt."""
        body = self.body | {"prompt": prompt, "max_tokens": tokens}
        answer = await client.post("/v1/completions", json=body)
        if answer.status_code != 200:
            raise ServerError(f"{self.name}: {answer.status_code}: {answer.text:.200}")
        return int(answer.json()["usage"]["completion_tokens"])

    async def seconds_to_first(self, client: httpx.AsyncClient, prompt: str) -> float | None:
        """Until the first event of a stream; None if it ends, or breaks off, without one."""
        body = self.body | {"prompt": prompt, "max_tokens": 2, "stream": True}
        began, seconds = time.perf_counter(), None
        try:
            async with client.stream("POST", "/v1/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    if seconds is None and line.startswith("data:"):
                        seconds = time.perf_counter() - began
        except httpx.TransportError:
            return None
        if answer.status_code != 200:
            raise ServerError(f"{self.name}: {answer.status_code} instead of a stream")
        return seconds


async def measure_clients(server: Server, clients: int, tokens: int, prompts: "Prompts") -> float:
    """Tokens a second of so many clients together, their prompts' time included."""
    async with server.client() as client:
        began = time.perf_counter()
        texts = (server.text(client, prompts.new(), tokens) for _ in range(clients))
        written = sum(await asyncio.gather(*texts))
        return written / (time.perf_counter() - began)


class Prompts:
    """Random prompts, alike on every server."""

    def __init__(self, length: int, tokens_per_word: float) -> None:
        """length: tokens of a prompt, about."""
        self._random = random.Random(1)
        self._length = length
        self._tokens_per_word = tokens_per_word

    def new(self, length: int | None = None) -> str:
        """One that begins like no other."""
        tokens = self._length if length is None else length
        count = max(1, round(tokens / self._tokens_per_word))
        return "".join(f" {self._random.choice(_WORDS)}" for _ in range(count))


async def tokens_per_word(server: Server) -> float:
    """How many tokens cl-llama's tokenizer makes of a word of the prompts."""
    async with server.client() as client:
        answer = await client.post("/tokenize", json={"content": " ".join(_WORDS)})
        return len(answer.json()["tokens"]) / len(_WORDS)


async def measure(servers: list[Server], args: argparse.Namespace, log: Console) -> None:
    """All repetitions of all tests on all servers; short texts before them are not counted."""
    prompts = Prompts(args.prompt_tokens, await tokens_per_word(servers[0]))
    for server in servers:
        for clients in args.clients:
            await measure_clients(server, clients, _WARM_UP, prompts)
    for repetition in range(args.repetitions):
        for clients in args.clients:
            for server in servers:
                rate = await measure_clients(server, clients, args.tokens, prompts)
                server.rates.setdefault(clients, []).append(rate)
                log.print(f"{repetition + 1} {server.name}: {clients} clients {rate:.2f}/s")
        for server in servers if args.prefix else ():
            prefix = prompts.new(args.prefix)
            async with server.client() as client:
                for kind in ("new", "shared"):
                    seconds = await server.seconds_to_first(client, prefix + prompts.new(_TAIL))
                    if seconds is None:
                        log.print(f"{repetition + 1} {server.name}: {kind} prefix: no event")
                        continue
                    server.first.setdefault(kind, []).append(seconds)
                    log.print(f"{repetition + 1} {server.name}: {kind} prefix {seconds:.3f} s")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_servers(args: argparse.Namespace) -> list[Server]:
    """What the options ask for."""
    port = free_port()
    command = [sys.executable, "-m", "cl_llama", "serve", "--port", str(port)]
    command += ["--model-path", str(args.folder)] if args.folder else []
    command += ["--opencl-device", args.opencl_device] if args.opencl_device else []
    command += args.serve
    servers = [Server("cl-llama", command, {"temperature": 0, "stop_token_ids": []}, port)]
    if args.gguf is not None:
        port = free_port()
        command = [args.python, "-m", "llama_cpp.server", "--model", str(args.gguf)]
        context = str(2 * (args.prefix + _TAIL) + args.tokens + 64)
        command += ["--port", str(port), "--n_ctx", context, "--n_threads", str(args.threads)]
        body = {"temperature": 0, "logit_bias": {"2": -100}}
        servers.append(Server("llama-cpp-python", command, body, port))
    return servers


def show(servers: Sequence[Server], console: Console) -> None:
    """The medians as a table."""
    table = Table(box=box.SIMPLE)
    table.add_column("clients")
    for server in servers:
        table.add_column(f"{server.name}, tokens/s", justify="right")
    for clients in servers[0].rates:
        rates = [statistics.median(server.rates[clients]) for server in servers]
        table.add_row(str(clients), *(f"{rate:.2f}" for rate in rates))
    for kind in servers[0].first:
        seconds = [server.first.get(kind) for server in servers]
        cells = ("none" if each is None else f"{statistics.median(each):.3f} s" for each in seconds)
        table.add_row(f"first token, {kind} prefix", *cells)
    console.print(table)


def as_json(servers: Sequence[Server], args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        "tokens": args.tokens,
        "prompt_tokens": args.prompt_tokens,
        "prefix": args.prefix,
        "servers": {
            server.name: {"tokens_per_second": server.rates, "seconds_to_first": server.first}
            for server in servers
        },
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="a model for cl-llama; default: the embedded")
    parser.add_argument("--gguf", type=Path, help="the same model for llama-cpp-python's server")
    parser.add_argument("--python", default=sys.executable, help="a Python that has that server")
    parser.add_argument("--opencl-device", help="for cl-llama")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for the other server")
    parser.add_argument("--clients", type=_numbers, default=[1, 4, 16], metavar="N,N,...")
    parser.add_argument("--tokens", type=int, default=64, help="that each client's text has")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--prefix", type=int, default=1000, help="shared tokens; 0: no such test")
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("serve", nargs="*", help="after --: options of cl-llama serve")
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


async def run(args: argparse.Namespace) -> int:
    """Measure and show; the exit status."""
    log = Console(stderr=True)
    servers = make_servers(args)
    try:
        for server in servers:
            await server.start()
        await measure(servers, args, log)
    except (ServerError, httpx.TransportError) as error:
        print(f"bench_server: {error or type(error).__name__}", file=sys.stderr)
        return 1
    finally:
        for server in servers:
            server.stop()
    show(servers, Console())
    if args.json:
        print(json.dumps(as_json(servers, args)))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return asyncio.run(run(parse(argv)))


if __name__ == "__main__":
    sys.exit(main())
