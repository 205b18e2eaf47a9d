"""`cl-llama serve` as a process."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cl_llama.cli import main
from cl_llama.cli.parser import parse
from cl_llama.cli.server_options import rllama_settings, server_settings
from cl_llama.errors import RequestError
from cl_llama.server.settings import RllamaSettings
from tests.cli.conftest import Ended
from tests.server.conftest import paged_llama

ROOT = Path(__file__).resolve().parents[2]


class Process(subprocess.Popen):
    """The command, whose standard error goes to a file: nobody has to read along."""

    def __init__(self, *words: str) -> None:
        self._error_file = tempfile.TemporaryFile("w+")  # noqa: SIM115
        super().__init__(
            [sys.executable, "-m", "cl_llama", *words],
            stdout=subprocess.PIPE,
            stderr=self._error_file,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def standard_error(self) -> str:
        descriptor = self._error_file.fileno()
        # The process writes where the file's position is; this leaves it there.
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()

    def close(self) -> None:
        self.kill()
        self.communicate()
        self._error_file.close()


@contextmanager
def started(*words: str) -> Iterator[tuple[Process, str]]:
    """The process and its URL, once its line is there."""
    process = Process(*words)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"page (http://[^/]*)/", process.standard_error())):
            assert process.poll() is None and time.monotonic() < deadline, process.standard_error()
            time.sleep(0.01)
        yield process, found[1]
    finally:
        process.close()


@pytest.fixture
def cl_llama(capsys) -> Callable[..., Ended]:
    """Runs the command line in this process."""

    def run(*words: str) -> Ended:
        try:
            status = main(list(words))
        except SystemExit as stopped:
            status = stopped.code
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture
def device_words(device_infos) -> tuple[str, str]:
    if not device_infos:
        pytest.skip("no OpenCL device")
    return "--opencl-device", str(device_infos[0].index)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_lets_a_running_text_end(device_words):
    body = {"prompt": "Once upon a time", "temperature": 0, "stop_at_end_token": False}
    with (
        started("serve", "--port", "0", *device_words) as (process, url),
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        assert client.get("/health").json() == {"status": "ok"}
        settings = {"json": body | {"max_new_tokens": 150}}
        with client.stream("POST", "/rllama/v1/inference", **settings) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            process.send_signal(signal.SIGTERM)
            texts = [json.loads(line) for line in (first, *lines)]
        assert len(texts) == 150
        assert not any("error" in text for text in texts)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        err = process.standard_error()
        assert re.search(
            r"^[-\d]+ [:\d]+ POST /rllama/v1/inference 200 \d+\+150 tokens [\d.]+ s$", err, re.M
        )
        assert "Once" not in err


def test_rllamas_flags(device_words):
    words = ("--inference-server", "--inference-server-port", "0", "--inference-server-api-path")
    more = ("/complete", "--inference-server-exit-after-one-query", "--temperature", "0.5")
    with started(*words, *more, *device_words) as (process, url):
        body = {"prompt": "Once", "max_new_tokens": 3, "stop_at_end_token": False}
        refused = httpx.post(f"{url}/complete", json={}, trust_env=False)
        assert refused.status_code == 400
        answer = httpx.post(f"{url}/complete", json=body, trust_env=False)
        assert len(answer.text.splitlines()) == 3
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--inference-server-port", "1"], "--inference-server-port: goes with --inference-server"),
        (
            ["--inference-server", "--inference-server-port", "x"],
            "must be a whole number from 0 to 65535, got 'x'",
        ),
        (
            ["--inference-server", "--inference-server-api-path", "/v1/chat"],
            "must not begin with /v1/",
        ),
        (["serve", "--max-body-size", "4X"], "must be a number of bytes, or 512K, 4M, got '4X'"),
        (["serve", "--request-timeout", "0"], "must be a number of at least 0.1, got '0'"),
        (["serve", "--api-key", ""], "argument --api-key: must not be empty"),
    ],
)
def test_wrong_usage(cl_llama, words, message):
    ended = cl_llama(*words)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err and ended.err.count("\n") == 1


def test_a_missing_package(cl_llama, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "uvicorn" else found(name)
    )
    for words in (["serve"], ["--inference-server"]):
        ended = cl_llama(*words)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err == (
            "cl-llama: error: serve: uvicorn is not installed; run: "
            'pip install "cl-llama[server]"\n'
        )


@pytest.mark.parametrize(
    ("words", "warns"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--api-key", "key"], False),
        (["--host", "localhost"], False),
        ([], False),
    ],
)
def test_a_server_for_everybody_is_warned_of(cl_llama, monkeypatch, device_words, words, warns):
    monkeypatch.delenv("CL_LLAMA_API_KEY", raising=False)
    monkeypatch.setattr("cl_llama.server.running.listen", lambda host, port: [])
    monkeypatch.setattr("cl_llama.server.running.Runner.run", lambda *_: 0)
    ended = cl_llama("serve", *device_words, *words)
    assert ended.status == 0
    assert ended.err.startswith("cl-llama: WARNING: everybody who reaches 0.0.0.0") == warns
    assert ended.err.count("\n") == warns


def test_keys_of_a_file(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text("one\n\n  two \n")
    monkeypatch.setenv("CL_LLAMA_API_KEY", "three")
    words = ["serve", "--api-key", "zero", "--api-key-file", str(file)]
    assert server_settings(parse(words)).api_keys == ("zero", "three", "one", "two")
    file.write_text("\n")
    with pytest.raises(RequestError, match="holds no key"):
        server_settings(parse(words))


def test_rllamas_settings(monkeypatch):
    monkeypatch.delenv("CL_LLAMA_API_KEY", raising=False)
    settings = rllama_settings(parse(["--inference-server"]))
    assert (settings.host, settings.port, settings.max_concurrent) == ("127.0.0.1", 8080, 5)
    assert settings.rllama == RllamaSettings("/rllama/v1/inference", False)


def test_a_port_in_use(serve):

    server = serve(paged_llama())
    done = subprocess.run(
        [sys.executable, "-m", "cl_llama", "serve", "--port", str(server.port)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"cl-llama: error: serve: cannot listen on 127.0.0.1:{server.port}: address already in "
        r"use; choose another --host or --port\n",
        done.stderr,
    )
