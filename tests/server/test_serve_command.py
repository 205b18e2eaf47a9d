"""`cl-llama serve` as a process."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import paged_llama

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process and its URL, once its line is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cl_llama", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        line = process.stderr.readline()
        found = re.search(r"page (http://[^/]*)/", line)
        assert found, line + process.stderr.read()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_and_stops(device_infos, number):
    if not device_infos:
        pytest.skip("no OpenCL device")
    device = str(device_infos[0].index)
    with started("serve", "--port", "0", "--opencl-device", device) as (process, url):
        answer = httpx.get(f"{url}/health", trust_env=False)
        assert (answer.status_code, answer.json()["status"]) == (200, "ok")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


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
