"""`cl-llama devices`: table and JSON; standard output has the answer only."""

import argparse
import json
from dataclasses import fields

import pytest

from cl_llama.cli import devices as command
from cl_llama.opencl.devices import DeviceInfo, Inventory


def made_up(index: int, **changes) -> DeviceInfo:
    values = {
        "index": index,
        "platform": "Portable Computing Language",
        "name": "pthread-skylake-avx512-Intel(R) Xeon(R) Processor @ 2.80GHz",
        "type": "cpu",
        "vendor": "GenuineIntel",
        "driver": "2026.22.10.0.01_160000",
        "version": "OpenCL 3.0",
        "platform_version": "OpenCL 3.0",
        "global_mem_bytes": 24 * 2**30,
        "max_alloc_bytes": 12 * 2**30,
        "compute_units": 64,
        "fp16": True,
        "subgroups": False,
        "unified_memory": True,
        "is_default": index == 0,
        "handle": None,
    }
    return DeviceInfo(**(values | changes))


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["devices", *words])
    return args.func(args)


@pytest.fixture
def two_devices(monkeypatch):
    devices = (made_up(0), made_up(1, name="[bold]Odd[/] :smile: name", compute_units=1))
    inventory = Inventory(devices, ("Clover: it has no device",))
    monkeypatch.setattr(command, "take_inventory", lambda: inventory)
    return devices


@pytest.mark.parametrize("columns", ["80", "120", None])
def test_table_loses_nothing(columns, two_devices, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert run() == 0
    out, err = capsys.readouterr()
    assert all(len(line) <= int(columns or 160) for line in out.splitlines())
    assert "0*" in out
    assert "…" not in out
    cells = "".join(out.split())
    for device in two_devices:
        # A folded name stands in pieces of its column; each word of up to 20 letters is whole.
        for word in device.name.split():
            assert len(word) > 20 or word in out
        assert device.driver in out
        assert device.platform in out
    assert "24.0GiB" in cells
    assert "12.0GiB" in cells
    assert "64 units" in out
    assert "1 unit " in out
    assert "no subgroups" in out
    if columns != "80":
        assert two_devices[0].name in out
    assert err == "passed over: Clover: it has no device\n"


def test_json_has_every_field(two_devices, capsys):
    assert run("--json") == 0
    out, err = capsys.readouterr()
    listed = json.loads(out)
    assert [d["default"] for d in listed] == [True, False]
    for entry, device in zip(listed, two_devices, strict=True):
        for field in fields(DeviceInfo):
            if field.name not in ("handle", "is_default"):
                assert entry[field.name] == getattr(device, field.name)
    assert "passed over" in err


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_no_device(words, capsys, monkeypatch):
    monkeypatch.setattr(command, "take_inventory", lambda: Inventory((), ()))
    assert run(*words) == 1
    out, err = capsys.readouterr()
    assert out == ("[]\n" if words else "")
    assert err.startswith("no OpenCL device was found; ")
    assert err.count("\n") == 1


def test_installed_devices(device_infos, capsys):
    if not device_infos:
        pytest.skip("no OpenCL device")
    assert run("--json") == 0
    listed = {d["index"]: d["name"] for d in json.loads(capsys.readouterr().out)}
    assert {d.index: d.name for d in device_infos}.items() <= listed.items()
    assert run() == 0
