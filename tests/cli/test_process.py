"""The command as a process: signals, pipes, streams that are closed or full, encodings."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = ("--max-new-tokens", "100000", "--ignore-eos", "--temperature", "0", "--prompt", "Once")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and descriptors")


@pytest.fixture(scope="module")
def command(long_model: Path, device_infos) -> list[str]:
    if not device_infos:
        pytest.skip("no OpenCL device")
    device = str(device_infos[0].index)
    words = [sys.executable, "-m", "cl_llama", "--model-path", str(long_model)]
    return [*words, "--opencl-device", device, "--max-new-tokens", "8"]


def run(words: Sequence[str], **settings) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | settings.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run(words, timeout=60, env=environment, **(pipes | settings))


def start(words: Sequence[str]) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
    )


def test_the_text_streams_and_ctrl_c_ends_it_cleanly(command):
    process = start([*command, *ENDLESS])
    first = process.stdout.read(1)  # long before the end
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    text = (first + out).decode()
    assert process.returncode == 130
    assert err == b""
    assert text.endswith("\n") and len(text) > 1


def test_ctrl_c_with_json_prints_what_there_is(command):
    process = start([*command, *ENDLESS, "--json"])
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, b"")
    if out:  # else it was still loading
        assert json.loads(out)["finish_reason"] == "cancelled"


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.5])
def test_ctrl_c_while_it_starts(command, seconds):
    process = start([*command, *ENDLESS])
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    if b"_io" not in err and b"<frozen" not in err:  # the interpreter had not begun with cl-llama
        assert (process.returncode, err) == (130, b"")
        assert out == b"" or out.endswith(b"\n")


def test_an_interrupt_inside_exec_is_no_death_by_signal():
    program = (
        "import cl_llama.cli, cl_llama.cli.parser as p\n"
        "def interrupted(argv): exec('raise KeyboardInterrupt')\n"
        "p.parse = interrupted\n"
        "raise SystemExit(cl_llama.cli.main([]))"
    )
    done = run([sys.executable, "-c", program])
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_reader_that_leaves(command):
    process = start([*command, *ENDLESS])
    assert len(process.stdout.read(1)) == 1
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), err) == (0, b"")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["devices"], ["cache", "--json"]])
def test_nobody_reads(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = run([sys.executable, "-m", "cl_llama", *words], stdout=writer)
    os.close(writer)
    assert done.returncode == 0
    assert all(line.startswith(b"passed over: ") for line in done.stderr.splitlines())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(command):
    with Path("/dev/full").open("wb") as full:
        for words in (command, [*command, "--json"], [sys.executable, "-m", "cl_llama", "cache"]):
            done = run(words, stdout=full)
            assert done.returncode == 1
            assert done.stderr == b"cl-llama: error: No space left on device\n"


def test_closed_streams(command):
    closed = ["sh", "-c", '"$@" >&-', "sh", *command]
    done = run(closed)
    assert (done.returncode, done.stderr) == (1, b"cl-llama: error: standard output is closed\n")
    text = run(command).stdout
    assert text
    done = run(["sh", "-c", '"$@" --verbose 2>&-', "sh", *command, "--temperature", "0"])
    assert done.returncode == 0
    assert done.stdout == run([*command, "--temperature", "0"]).stdout


def test_encodings(command):
    words = [*command, "--echo", "--prompt", "Größe €", "--max-new-tokens", "0"]
    for encoding, expected in (
        ("utf-8", "Größe €\n".encode()),
        ("latin-1", b"Gr\xf6\xdfe ?\n"),
        ("ascii", b"Gr??e ?\n"),
    ):
        done = run(words, env={"PYTHONIOENCODING": encoding})
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


def test_standard_input_and_a_clean_standard_output(command):
    words = [*command, "--temperature", "0", "--prompt"]
    piped = run([*words, "-", "--verbose"], input="Größe €\n".encode())
    assert piped.returncode == 0
    assert piped.stdout == run([*words, "Größe €"]).stdout
    assert piped.stderr.startswith(b"device: ")


def test_a_start_imports_only_what_it_needs():
    program = (
        "import sys, cl_llama.cli, cl_llama.cli.parser\n"
        "import cl_llama.llm, cl_llama.opencl.runtime, cl_llama.models.loading\n"
        "heavy = {'rich', 'tokenizers', 'tiktoken', 'sentencepiece', 'huggingface_hub', 'pyopencl',"
        "'prompt_toolkit'}\nprint(sorted(heavy & set(sys.modules)))"
    )
    assert run([sys.executable, "-c", program]).stdout == b"[]\n"
