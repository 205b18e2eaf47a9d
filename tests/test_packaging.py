"""The wheel and the sdist hold everything, and run outside the checkout."""

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.small_model import write_small_model

ROOT = Path(__file__).resolve().parents[1]
MISSING = [name for name in ("build", "hatchling", "pip") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def python(*words: object, cwd: Path, path: Path | None = None) -> str:
    """The standard output of a child; `path` goes before this environment's packages."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with an sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    python("-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    words = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    python("-m", "pip", *words, "--target", folder, wheel, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(built, tmp_path_factory) -> Path:
    (path,) = built.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    return root


def files_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_and_the_kernels(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
    expected = {f"cl_llama/{name}" for name in files_below(ROOT / "cl_llama")}
    expected |= {f"cl_llama/kernels/{name}" for name in files_below(ROOT / "kernels")}
    assert names == expected
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)
    assert any(name.endswith("/entry_points.txt") for name in metadata)


def test_the_sdist_holds_the_tests_and_what_they_need(unpacked):
    for folder in ("cl_llama", "kernels", "tests", "tools", ".ci"):
        assert files_below(unpacked / folder) == files_below(ROOT / folder)
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_web_page_is_found_where_it_is_installed(installed, tmp_path):
    pytest.importorskip("fastapi")
    count = "from cl_llama.server.page import page_files; print(len(page_files().assets))"
    static = ROOT / "cl_llama" / "server" / "page" / "static"
    found = int(python("-c", count, cwd=tmp_path, path=installed))
    assert found == len(files_below(static)) - 1  # all but index.html


@pytest.mark.parametrize("form", ["installed", "unpacked"])
def test_it_runs_elsewhere(form, request, tmp_path, device_infos):
    path = request.getfixturevalue(form)
    where = "import cl_llama; print(cl_llama.__file__)"
    assert Path(python("-c", where, cwd=tmp_path, path=path)).is_relative_to(path)
    words = ["-m", "cl_llama"]
    if form == "installed":
        assert python(*words, "--version", cwd=tmp_path, path=path).startswith("cl-llama 0.")
        words = [path / "bin" / "cl-llama"]
    listed = json.loads(python(*words, "devices", "--json", cwd=tmp_path, path=path))
    assert len(listed) >= len(device_infos)
    if not device_infos:
        pytest.skip("no OpenCL device to generate on")
    words += ["--opencl-device", device_infos[0].index, "--json", "--max-new-tokens", 4]
    models = [["--model-path", write_small_model(tmp_path)]]
    if (path / "cl_llama" / "demo" / "model.safetensors").exists():
        models.append([])
    for model in models:
        answer = json.loads(python(*words, *model, cwd=tmp_path, path=path))
        assert answer["generated_tokens"] >= 1
