"""What is found out about matrix units, in which process, and what is remembered of it."""

import json
import sys
from dataclasses import replace

import pytest

from cl_llama.errors import DeviceError
from cl_llama.opencl import amx, cache, matrix_units
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.matrix_units import Finding, Unit, examine, find_matrix_unit
from cl_llama.opencl.runtime import Runtime
from tests.amx import emulation

DEVICE = DeviceInfo(
    index=0,
    platform="Platform",
    name="Name",
    type="cpu",
    vendor="Vendor",
    driver="1.0",
    version="OpenCL 3.0",
    platform_version="OpenCL 3.0",
    global_mem_bytes=2**30,
    max_alloc_bytes=2**30,
    compute_units=2,
    fp16=False,
    subgroups=False,
    unified_memory=True,
    is_default=True,
    handle=None,
)
HERE = Unit(lambda device: None, lambda: None, lambda runtime: None, ("check_amx.cl",))
WORKS = Finding("amx", "works")


@pytest.fixture
def unit(monkeypatch, tmp_path):
    """A unit that every device has and the system permits; a cache that starts empty."""
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "_refused", set())
    monkeypatch.setattr(matrix_units, "_unwritten", {})
    monkeypatch.setattr(matrix_units, "UNITS", {"amx": HERE})


@pytest.fixture
def outcomes(unit, monkeypatch):
    """What the checks in child processes say, one after the other; no more are made."""
    left: list[str | None] = []
    monkeypatch.setattr(matrix_units, "_check_in_child", lambda *_: left.pop(0))
    return left


@pytest.mark.parametrize("failure", ["", "3 of 4 results are wrong"])
def test_one_check_is_remembered(outcomes, failure):
    outcomes.append(failure)
    expected = Finding("amx", "failed", failure) if failure else WORKS
    assert [examine("amx", DEVICE) for _ in range(3)] == [expected] * 3
    outcomes.append("" if failure else "worn out")
    assert examine("amx", DEVICE, again=True) != expected
    assert examine("amx", DEVICE) != expected


def test_another_driver_is_checked_anew(outcomes):
    outcomes.extend(["", "no more"])
    assert examine("amx", DEVICE) == WORKS
    assert examine("amx", replace(DEVICE, driver="1.1")) == Finding("amx", "failed", "no more")
    assert examine("amx", DEVICE) == WORKS


def test_a_damaged_entry_is_checked_anew(outcomes):
    outcomes.extend(["", "", "broken"])
    examine("amx", DEVICE)
    (entry,) = (cache.cache_root() / "matrix-units").iterdir()
    for damage in (b"", b"[]"):
        entry.write_bytes(damage)
        found = examine("amx", DEVICE)
    assert found == Finding("amx", "failed", "broken")


def test_without_a_cache_the_process_remembers(outcomes, monkeypatch):
    monkeypatch.setattr(matrix_units, "private_folder", lambda name: None)
    outcomes.append("")
    assert [examine("amx", DEVICE) for _ in range(2)] == [WORKS] * 2


def test_a_check_that_takes_too_long_is_made_again(unit, monkeypatch):
    monkeypatch.setattr(matrix_units, "_TIMEOUT", 0.01)
    assert examine("amx", DEVICE) == Finding("amx", "failed", "the check took longer than 0.01 s")
    monkeypatch.setattr(matrix_units, "_check_in_child", lambda *_: "")
    assert examine("amx", DEVICE) == WORKS


def test_distrust_lasts_until_the_next_examination(outcomes):
    outcomes.extend(["", ""])
    assert examine("amx", DEVICE) == WORKS
    matrix_units.distrust("amx", DEVICE, "wrong elsewhere")
    assert examine("amx", DEVICE) == Finding("amx", "failed", "wrong elsewhere")
    assert find_matrix_unit(DEVICE) is None
    assert examine("amx", DEVICE, again=True) == WORKS
    assert find_matrix_unit(DEVICE) == "amx"


def test_a_child_without_an_answer(unit, monkeypatch):
    monkeypatch.setattr(matrix_units, "_CHECK", "no.such.module")
    reason = "the check ended with status 1: ModuleNotFoundError: No module named 'no'"
    assert examine("amx", DEVICE) == Finding("amx", "failed", reason)


def test_what_is_absent_or_not_permitted_is_not_checked(outcomes, monkeypatch):
    monkeypatch.setitem(matrix_units.UNITS, "amx", replace(HERE, permission=lambda: "refused"))
    assert examine("amx", DEVICE) == Finding("amx", "failed", "refused")
    monkeypatch.setitem(matrix_units.UNITS, "amx", replace(HERE, absence=lambda device: "none"))
    assert examine("amx", DEVICE) == Finding("amx", "absent", "none")
    assert find_matrix_unit(DEVICE) is None


def test_the_switch(outcomes, monkeypatch):
    outcomes.append("")
    for value, expected in {"on": "amx", "off": None, "OFF": None, "": "amx"}.items():
        monkeypatch.setenv("CL_LLAMA_MATRIX_UNITS", value)
        assert find_matrix_unit(DEVICE) == expected
    monkeypatch.setenv("CL_LLAMA_MATRIX_UNITS", "of")
    with pytest.raises(DeviceError, match="CL_LLAMA_MATRIX_UNITS is 'of'; it is 'on' or 'off'"):
        find_matrix_unit(DEVICE)


def test_a_runtime_without(device, monkeypatch):
    def never(device):
        raise AssertionError

    monkeypatch.setattr("cl_llama.opencl.runtime.find_matrix_unit", never)
    assert Runtime(device, matrix_units=False).matrix_unit is None


def test_amx_is_absent(monkeypatch):
    monkeypatch.setattr(amx, "cpu_flags", lambda: frozenset({"avx512f", "amx_tile"}))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert amx.absence(DEVICE) == "the processor has no amx_bf16"
    for other in ({"type": "gpu"}, {"type": "simulator"}, {"name": "llvmpipe (LLVM 15)"}):
        reason = "kernels do not run on the processor's own instructions"
        assert amx.absence(replace(DEVICE, **other)) == reason
    monkeypatch.setattr(amx, "cpu_flags", lambda: frozenset({"amx_bf16", "amx_tile"}))
    assert amx.absence(DEVICE) is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert amx.absence(DEVICE) == "it is used on x86-64 Linux only"


EXAMINE = """
import json, sys
from tests import conftest  # adds the processor's flags
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.matrix_units import examine
found = examine("amx", select_device(int(sys.argv[1])), again=True)
print(json.dumps([found.state, found.reason]))
"""


@pytest.mark.skipif(bool(emulation.why_not()), reason=str(emulation.why_not()))
@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("", ["works", ""]),
        ("deny", ["failed", "Linux refuses: "]),
        ("fault", ["failed", "the check was ended by SIGILL"]),
        ("wrong", ["failed", "64 of 16384 results are wrong"]),
    ],
)
def test_amx_on_a_device(device, role, expected):
    if role in ("fault", "wrong") and emulation.hardware():
        pytest.skip("the hardware executes it whatever is played")
    if amx.absence(device) == "kernels do not run on the processor's own instructions":
        pytest.skip("kernels do not run on the processor's own instructions")
    child = emulation.run(["-c", EXAMINE, str(device.index)], role)
    assert child.returncode == 0, child.stderr
    state, reason = json.loads(child.stdout)
    assert state == expected[0]
    assert reason.startswith(expected[1])
