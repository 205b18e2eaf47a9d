"""A small model of random weights with a tokenizer beside it, and the command run in-process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cl_llama.cli import main
from tests.checkpoints.checkpoint_files import llama2c_bytes, meta_tensors
from tests.tokenizers.small_files import sentencepiece_model

CONFIG = {
    "dim": 64,
    "hidden_dim": 96,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 360,
    "max_seq_len": 128,
}


class Ended(NamedTuple):
    """A command that has run: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


def write_model(folder: Path, config: dict[str, int]) -> Path:
    (folder / "tok360.model").write_bytes(sentencepiece_model())
    path = folder / "model.bin"
    path.write_bytes(llama2c_bytes(meta_tensors(config), config=config))
    return path


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("small-model"), CONFIG)


@pytest.fixture(scope="session")
def long_model(tmp_path_factory) -> Path:
    """The same with a context that takes long to fill."""
    config = CONFIG | {"max_seq_len": 20000}
    return write_model(tmp_path_factory.mktemp("long-model"), config)


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
