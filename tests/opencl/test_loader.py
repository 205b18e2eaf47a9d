"""Which OpenCL runtimes a fresh process sees, and what becomes of its environment.

The OpenCL loader reads its environment once a process, so most tests start a child.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cl_llama.opencl import loader

INTEL = loader.find_intel_runtime()
needs_intel = pytest.mark.skipif(INTEL is None, reason="Intel's CPU runtime is not installed")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="concerns the ICD loader of Linux")

LIST_PLATFORMS = """
import json, os, sys
from cl_llama.opencl.loader import import_pyopencl
cl = import_pyopencl()
try:
    names = [p.name for p in cl.get_platforms()]
except cl.Error:
    names = []
print(json.dumps([names, os.environ.get("OCL_ICD_VENDORS")]))
"""


def run_child(code: str, **environment: str | None) -> str:
    """Standard output of a Python process; None removes a variable."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={k: v for k, v in env.items() if v is not None},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def platforms(**environment: str | None) -> list[str]:
    """Platforms that a child sees; its environment is as it was."""
    names, vendors = json.loads(run_child(LIST_PLATFORMS, **environment))
    assert vendors == environment.get("OCL_ICD_VENDORS", os.environ.get("OCL_ICD_VENDORS"))
    return names


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@needs_intel
def test_pips_intel_runtime_joins_those_of_the_system():
    plain = (
        "import json, pyopencl as cl\n"
        "try:\n    names = [p.name for p in cl.get_platforms()]\n"
        "except cl.Error:\n    names = []\n"
        "print(json.dumps(names))"
    )
    without = json.loads(run_child(plain))
    found = platforms()
    assert found.count("Intel(R) OpenCL") == 1
    extra = [] if "Intel(R) OpenCL" in without else ["Intel(R) OpenCL"]
    assert sorted(found) == sorted(without + extra)


@needs_intel
def test_a_users_vendors_folder_is_read_instead_of_the_systems(tmp_path):
    (tmp_path / "vendors").mkdir()
    found = platforms(OCL_ICD_VENDORS=str(tmp_path / "vendors"))
    assert "Intel(R) OpenCL" in found
    assert "Clover" not in found
    assert "rusticl" not in found
    assert leftovers(tmp_path / "vendors") == []


@needs_intel
def test_damaged_icd_files_are_harmless(tmp_path):
    (tmp_path / "missing.icd").write_text("/nonexistent/libmissing.so\n")
    (tmp_path / "placeholder.icd").write_text("/nonexistent/placeholder/lib/libintelocl.so")
    (tmp_path / "garbage.icd").write_bytes(bytes(range(256)))
    (tmp_path / "empty.icd").touch()
    (tmp_path / "folder.icd").mkdir()
    (tmp_path / "text.icd").write_text(str(Path(__file__)))
    assert "Intel(R) OpenCL" in platforms(OCL_ICD_VENDORS=str(tmp_path))


@needs_intel
def test_an_intel_runtime_that_is_named_already_is_not_loaded_twice(tmp_path):
    (tmp_path / "intel.icd").write_text(f"{INTEL}\n")
    assert platforms(OCL_ICD_VENDORS=str(tmp_path)).count("Intel(R) OpenCL") == 1


@needs_intel
def test_a_single_driver_that_the_user_chose_stays_the_only_one(tmp_path):
    missing = tmp_path / "only.icd"
    missing.write_text("/nonexistent/libmissing.so\n")
    assert "Intel(R) OpenCL" not in platforms(OCL_ICD_VENDORS=str(missing))
    assert platforms(OCL_ICD_VENDORS=str(INTEL)).count("Intel(R) OpenCL") == 1


@needs_intel
def test_private_folder_is_correct_and_closed_to_others(tmp_path):
    assert "Intel(R) OpenCL" in platforms(CL_LLAMA_CACHE_DIR=str(tmp_path / "cache"))
    (folder,) = (tmp_path / "cache").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    icd = folder / "cl-llama-intel-cpu.icd"
    assert icd.stat().st_mode & 0o777 == 0o600
    assert icd.read_text() == f"{INTEL}\n"
    icd.write_text("damaged")
    assert "Intel(R) OpenCL" in platforms(CL_LLAMA_CACHE_DIR=str(tmp_path / "cache"))
    assert icd.read_text() == f"{INTEL}\n"


@needs_intel
def test_an_unusable_cache_is_replaced_by_a_temporary_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    found = platforms(CL_LLAMA_CACHE_DIR=str(tmp_path / "file"), TMPDIR=str(tmp_path / "tmp"))
    assert "Intel(R) OpenCL" in found
    assert leftovers(tmp_path / "tmp") == []


@needs_intel
def test_a_cache_that_others_can_write_to_is_not_used(tmp_path):
    assert "Intel(R) OpenCL" in platforms(CL_LLAMA_CACHE_DIR=str(tmp_path))
    (folder,) = tmp_path.iterdir()
    folder.chmod(0o777)
    (folder / "cl-llama-intel-cpu.icd").write_text("/nonexistent/evil.so")
    assert "Intel(R) OpenCL" in platforms(CL_LLAMA_CACHE_DIR=str(tmp_path))
    assert (folder / "cl-llama-intel-cpu.icd").read_text() == "/nonexistent/evil.so"


@needs_intel
def test_processes_that_start_together_share_the_folder(tmp_path):
    environment = {**os.environ, "CL_LLAMA_CACHE_DIR": str(tmp_path)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", LIST_PLATFORMS],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert "Intel(R) OpenCL" in child.communicate(timeout=60)[0]
    (folder,) = tmp_path.iterdir()
    assert not [name for name in leftovers(folder) if not name.endswith(".icd")]


def test_a_program_that_enumerated_before_keeps_its_platforms():
    code = """
import json, pyopencl as cl
try:
    before = cl.get_platforms()
except cl.Error:
    before = []
from cl_llama.opencl.devices import list_devices
from cl_llama.opencl.loader import import_pyopencl
assert import_pyopencl() is cl
found = list_devices()
print(json.dumps([len(before), len({d.handle.platform.int_ptr for d in found})]))
"""
    before, with_devices = json.loads(run_child(code))
    assert with_devices <= before


@needs_linux
def test_no_runtime_of_any_kind(tmp_path):
    code = """
import json, os, pyopencl
os.environ["PYOPENCL_HOME"] = "/nonexistent"  # where pip's PoCL and Oclgrind are found
from cl_llama.errors import DeviceError
from cl_llama.opencl import loader
loader.find_intel_runtime = lambda: None
from cl_llama.opencl.devices import list_devices, select_device
assert list_devices() == [], list_devices()
try:
    select_device(None)
except DeviceError as error:
    print(error)
"""
    message = run_child(code, OCL_ICD_VENDORS=str(tmp_path))
    assert message.startswith("no OpenCL device was found; ")
    assert message.count("\n") == 1
    assert leftovers(tmp_path) == []


@needs_linux
def test_a_runtime_that_does_not_load_is_told(tmp_path):
    code = f"""
from pathlib import Path
from cl_llama.opencl import loader
from cl_llama.opencl.devices import take_inventory
loader.find_intel_runtime = lambda: Path({str(tmp_path / "libintelocl.so")!r})
print(*take_inventory().skipped, sep=chr(10))
"""
    (tmp_path / "libintelocl.so").write_text("not a library")
    first = run_child(code, OCL_ICD_VENDORS=str(tmp_path)).splitlines()[0]
    assert first.startswith(f"{tmp_path / 'libintelocl.so'} does not load: ")
    assert first.endswith("; pip install --force-reinstall intel-opencl-rt intel-cmplr-lib-rt")


def test_importing_the_package_imports_no_pyopencl():
    code = """
import sys
import cl_llama.opencl.devices, cl_llama.opencl.programs, cl_llama.cli.devices, cl_llama.cli.cache
print("pyopencl" in sys.modules)
"""
    assert run_child(code) == "False\n"


def test_runtime_installed_to_another_prefix(tmp_path, monkeypatch):
    site = tmp_path / "lib" / "python3" / "site-packages"
    metadata = site / "intel_opencl_rt-2026.0.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: intel-opencl-rt\nVersion: 1\n")
    (metadata / "RECORD").write_text("../../libother.so,,\n../../libintelocl.so,,\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(sys, "path", [str(site)])
    assert loader.find_intel_runtime() is None
    library = tmp_path / "lib" / "libintelocl.so"
    library.touch()
    assert loader.find_intel_runtime() == library
    monkeypatch.setattr(sys, "path", [])
    assert loader.find_intel_runtime() is None


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system, monkeypatch):
    monkeypatch.setattr(loader.sys, "platform", system)
    monkeypatch.setattr(loader, "find_intel_runtime", lambda: pytest.fail("looked for .so files"))
    before = dict(os.environ)
    with loader._runtimes_in_sight():
        assert dict(os.environ) == before


def test_condas_vendors_folder_is_carried_over(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENCL_VENDOR_PATH", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert loader._vendor_folders(None) == [Path("/etc/OpenCL/vendors")]
    (tmp_path / "conda-meta").mkdir()
    assert loader._vendor_folders(None)[-1] == tmp_path / "etc" / "OpenCL" / "vendors"
    monkeypatch.setenv("OPENCL_VENDOR_PATH", "/somewhere")
    assert loader._vendor_folders("")[0] == Path("/somewhere")
