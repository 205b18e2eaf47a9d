"""`cl-llama doctor`: findings, advice and exit status."""

import json

import pytest

from cl_llama.cli import doctor as command
from cl_llama.opencl import matrix_units
from cl_llama.opencl.child import ChildError
from cl_llama.opencl.devices import Inventory
from tests.cli.test_devices_command import made_up

FINE = {"unit": None, "operations": 12, "failures": []}


@pytest.fixture
def machine(monkeypatch):
    """One CPU device and a simulator, whose child answers what `answer` holds; no matrix unit."""

    class Machine:
        devices = (made_up(0), made_up(1, type="simulator"))
        skipped = ("Clover: it has no device",)
        answer: object = [FINE]
        unit = matrix_units.Finding("amx", "absent", "the processor has none")
        distrusted: tuple[object, ...] = ()

        def ask(self, module, index, timeout):
            assert index == "0"
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        def distrust(self, name, device, reason):
            self.distrusted = (name, device.index, reason)

    machine = Machine()
    monkeypatch.setattr(
        command, "take_inventory", lambda: Inventory(machine.devices, machine.skipped)
    )
    monkeypatch.setattr(command, "examine", lambda name, device, again: machine.unit)
    monkeypatch.setattr(command, "ask_child", machine.ask)
    monkeypatch.setattr(command, "distrust", machine.distrust)
    return machine


def test_all_is_well(machine, cl_llama):
    ended = cl_llama("doctor")
    assert (ended.status, ended.err) == (0, "")
    versions, cache, passed_over, device = ended.out.splitlines()
    assert versions.startswith("ok      cl-llama ")
    assert "pyopencl" in versions
    assert cache.startswith("ok      cache ")
    assert passed_over == "note    passed over: Clover: it has no device"
    assert device.startswith("ok      device 0 Portable Computing Language: ")
    assert device.endswith(": 12 of 12 operations agree with NumPy")


def test_a_matrix_unit(machine, cl_llama):
    machine.unit = matrix_units.Finding("amx", "works")
    machine.answer = [FINE, FINE | {"unit": "amx"}]
    ended = cl_llama("doctor")
    assert ended.status == 0
    assert ": matrix unit amx works\n" in ended.out
    assert ": 12 of 12 operations by amx agree with NumPy\n" in ended.out
    assert not machine.distrusted


def test_a_matrix_unit_that_fails_its_check_is_no_fault(machine, cl_llama):
    machine.unit = matrix_units.Finding("amx", "failed", "Linux refuses")
    ended = cl_llama("doctor")
    assert ended.status == 0
    assert "matrix unit amx is not used, which costs speed: Linux refuses\n" in ended.out


def test_matrix_units_are_off(machine, cl_llama, monkeypatch):
    monkeypatch.setenv("CL_LLAMA_MATRIX_UNITS", "off")
    ended = cl_llama("doctor")
    assert ended.status == 0
    assert ": matrix units are off (CL_LLAMA_MATRIX_UNITS)\n" in ended.out


def test_wrong_operations(machine, cl_llama):
    wrong = {"unit": "amx", "operations": 12, "failures": [["matmul of 40 rows", "at 1\n  it is"]]}
    machine.answer = [FINE, wrong]
    ended = cl_llama("doctor")
    assert ended.status == 1
    (line,) = (line for line in ended.out.splitlines() if line.startswith("broken"))
    assert ": matmul of 40 rows by amx fails: at 1 it is; update the device's driver; " in line
    assert ": 11 of 12 operations by amx agree with NumPy\n" in ended.out
    assert machine.distrusted == ("amx", 0, "cl-llama doctor: matmul of 40 rows fails")


def test_a_driver_that_crashes(machine, cl_llama):
    machine.answer = ChildError("was ended by SIGSEGV")
    ended = cl_llama("doctor")
    assert ended.status == 1
    assert "the process that ran its kernels was ended by SIGSEGV; update the device's" in ended.out


def test_no_device(machine, cl_llama):
    machine.devices = ()
    ended = cl_llama("doctor")
    assert ended.status == 1
    assert "broken  devices: there is no OpenCL device; " in ended.out


def test_a_cache_that_cannot_be_written(machine, cl_llama, monkeypatch):
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", "/dev/null/cache")
    ended = cl_llama("doctor")
    assert ended.status == 1
    assert "broken  cache /dev/null/cache: kernels cannot be kept there" in ended.out


def test_json(machine, cl_llama):
    machine.answer = ChildError("took longer than 1 s")
    ended = cl_llama("doctor", "--json")
    assert ended.status == 1
    findings = json.loads(ended.out)
    assert [f["state"] for f in findings] == ["ok", "ok", "note", "broken"]
    assert sorted(findings[0]) == ["state", "subject", "text"]


def test_an_unknown_device(cl_llama, device_infos):
    ended = cl_llama("doctor", "--opencl-device", "no such thing")
    assert ended.status == 1
    if device_infos:
        assert "matches no device" in ended.err.splitlines()[-1]


def test_this_machine(device, cl_llama):
    ended = cl_llama("doctor", "--opencl-device", device.index)
    assert ended.status == 0, ended.out
    assert ": 16 of 16 operations agree with NumPy" in ended.out
    assert "broken" not in ended.out
