"""Each look-up runs in a process of its own: the hub's library reads its settings at import."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import safetensors_bytes
from hub_server import COMMIT, serve

import cl_llama
from cl_llama.checkpoints import open_checkpoint, resolve_model
from cl_llama.errors import CheckpointError
from tests.gguf_writer import as_gguf, gguf_bytes

WEIGHTS = {"a": np.arange(4, dtype=np.float32)}
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": safetensors_bytes(WEIGHTS),
    "tokenizer.json": b"{}",
    "tokenizer.model": b"x",
    "chat_template.jinja": b"x",
    "additional_chat_templates/rag.jinja": b"x",
    "consolidated.safetensors": b"a second copy",
    "pytorch_model.bin": b"a third copy",
    "original/consolidated.00.pth": b"a fourth copy",
    "original/params.json": b"{}",
    "original/tokenizer.model": b"x",
    "original/tokenizer.bin": b"x",
    "README.md": b"x",
}
WANTED = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer.model",
    "chat_template.jinja",
    "additional_chat_templates/rag.jinja",
}
GGUF_FILES = {
    "config.json": b"{}",
    "README.md": b"x",
    "m.Q2_K.gguf": b"GGUF 2",
    "m.Q4_K_M.gguf": b"GGUF 4",
    "m.Q4_K.gguf": b"GGUF 4, too",
    "mmproj-m-Q4_K_M.gguf": b"no model",
    **{
        f"Q8_0/m-Q8_0-0000{i + 1}-of-00002.gguf": gguf_bytes(
            {"split.no": i, "split.count": 2}, as_gguf({f"t{i}": WEIGHTS["a"]})
        )
        for i in range(2)
    },
}
MODELS = {
    "org/model": FILES,
    "org/bins": {"config.json": b"{}", "pytorch_model.bin": b"x"},
    "org/gguf": GGUF_FILES,
    "org/lost-GGUF": {"m-00001-of-00002.gguf": b"x"},
}

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed"
)

SCRIPT = """
import sys
from cl_llama.checkpoints import resolve_model
from cl_llama.errors import CheckpointError
from tests.gguf_writer import as_gguf, gguf_bytes
try:
    print(resolve_model(sys.argv[1], progress=sys.argv[2] == "1"))
except CheckpointError as error:
    print("error:", error)
"""


def _resolve(name, home, endpoint, *, progress=False, **settings):
    """What `resolve_model` prints in a fresh process, and its stderr."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGG"))}
    environment = keep | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONPATH": str(Path(cl_llama.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, str(int(progress))],
        env=environment | settings,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.count("\n") == 1, done.stdout
    return done.stdout.strip(), done.stderr


@needs_hub
def test_download_then_cache_then_offline(tmp_path):
    with serve(MODELS) as (endpoint, requests):
        out, errors = _resolve("org/model", tmp_path, endpoint, progress=True)
        folder = Path(out)
        assert folder.is_relative_to(tmp_path) and folder.name == COMMIT
        downloaded = {path for path in folder.rglob("*") if not path.is_dir()}
        assert {path.relative_to(folder).as_posix() for path in downloaded} == WANTED
        assert "it/s" in errors or "%" in errors  # bars, and not on stdout
        with open_checkpoint(folder) as checkpoint:  # the cache's files are symbolic links
            assert checkpoint.format == "hf" and list(checkpoint.tensors) == ["a"]
            assert checkpoint.tokenizer_path == folder / "tokenizer.json"
        requests.clear()
        again, errors = _resolve("org/model@v1", tmp_path, endpoint)
        assert again == out
        assert not any(request.startswith("GET /org/") for request in requests)
        assert "%" not in errors
    assert _resolve("org/model", tmp_path, endpoint, HF_HUB_OFFLINE="1")[0] == out
    assert _resolve("org/model", tmp_path, endpoint)[0] == out  # the server is gone


@needs_hub
def test_gguf_files(tmp_path):
    with serve(MODELS) as (endpoint, requests):

        def resolve(name, **settings):
            out, _ = _resolve(name, tmp_path, endpoint, **settings)
            assert not out.startswith("error"), out
            return Path(out)

        default = resolve("org/gguf")
        assert default.read_bytes() == b"GGUF 4" and default.parent.name == COMMIT
        split = resolve("hf.co/org/gguf:q8_0")
        with open_checkpoint(split) as checkpoint:
            assert list(checkpoint.tensors) == ["t0", "t1"]
        assert len(list(split.parent.iterdir())) == 2
        assert not any("Q2_K" in request or "mmproj" in request for request in requests)
        assert resolve("org/gguf@v1/m.Q2_K.gguf").read_bytes() == b"GGUF 2"
        requests.clear()
        assert resolve("org/gguf:Q4_K_M") == default
        assert not any(request.startswith("GET /org/") for request in requests)
    offline = {"HF_HUB_OFFLINE": "1"}
    assert resolve("org/gguf:Q8_0", **offline) == split
    assert resolve("org/gguf/Q8_0/m-Q8_0-00002-of-00002.gguf", **offline) == split
    assert resolve("org/gguf") == default  # the server is gone


@needs_hub
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/gguf:Q3_K_M", "none is Q3_K_M; add one of :Q8_0, :Q2_K, :Q4_K, :Q4_K_M"),
        ("org/gguf/m.Q3_K_M.gguf", "m.Q3_K_M.gguf is not among"),
        ("org/lost-GGUF", "m-00002-of-00002.gguf is not among"),
        ("org/model:Q4_0", "has no GGUF files"),
        ("org/broken:Q4_0", "cannot be reached"),
        ("org/none", "no such file or folder, and no such model on the hub"),
        ("org/gated", "accepted its terms"),
        ("org/model@v9", "no such revision"),
        ("org/bins", "has no safetensors and no GGUF files"),
        ("org/broken", "cannot be reached"),
        ("org/bad--name", "no valid name"),
    ],
)
def test_refusals(tmp_path, name, message):
    with serve(MODELS) as (endpoint, _):
        out, _ = _resolve(name, tmp_path, endpoint)
    assert out.startswith(f"error: '{name}'") and message in out


@needs_hub
def test_unreachable(tmp_path):
    endpoint = "http://127.0.0.1:9"
    out, _ = _resolve("org/model", tmp_path, endpoint)
    assert out.startswith("error: 'org/model'") and "cannot be reached" in out
    out, _ = _resolve("org/model", tmp_path, endpoint, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE forbids" in out


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r'pip install "cl-llama\[hub\]"'):
        resolve_model("org/model", progress=False)


def test_local_path_wins(tmp_path, monkeypatch):
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("org/model", progress=False) == Path("org/model")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert resolve_model("~/org", progress=False) == tmp_path / "org"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "model",
        "./org/model",
        "../model",
        "/org/model",
        "~/none",
        "a/b/c",
        "org/model.safetensors",
        "models\\llama\\model.gguf",
        "./org/model/model.gguf",
        "org/../model/model.gguf",
        "org/model:",
        "org/model:Q4_0:x",
        "models/stories.bin",
        "models/llama.gguf",
        "C:\\models\\llama",
        "org/..",
        "org/model@",
        "org/mo del",
        "a\0b",
        "x" * 5000,
    ],
)
def test_missing_local_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # nothing may ask the hub
    with pytest.raises(CheckpointError, match=r"no such file or folder|not a path") as caught:
        resolve_model(name, progress=False)
    assert "pip install" not in str(caught.value) and "\n" not in str(caught.value)
