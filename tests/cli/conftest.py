"""A small model, and the command run in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cl_llama.cli import main
from tests.small_model import write_small_model


class Ended(NamedTuple):
    """A command that has run: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("small-model"))


@pytest.fixture(scope="session")
def long_model(tmp_path_factory) -> Path:
    """The same with a context that takes long to fill."""
    return write_small_model(tmp_path_factory.mktemp("long-model"), max_seq_len=20000)


@pytest.fixture
def cl_llama(capsys) -> Callable[..., Ended]:
    """Runs the command line in this process."""

    def run(*words: object) -> Ended:
        try:
            status = main([str(word) for word in words])
        except SystemExit as stopped:
            status = stopped.code
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture
def generate(cl_llama, small_model, device_infos) -> Callable[..., Ended]:
    """Runs a generation of the small model; greedy, 8 tokens, unless the words say otherwise."""
    if not device_infos:
        pytest.skip("no OpenCL device")

    def run(*words: object) -> Ended:
        settings = ["--model-path", small_model, "--temperature", 0, "--max-new-tokens", 8]
        return cl_llama(*settings, "--opencl-device", device_infos[0].index, *words)

    return run
