"""Where values of kernel parameters come from, and what happens to those that make no sense."""

import json
import logging
from pathlib import Path

import pytest

from cl_llama import ops
from cl_llama.opencl import tuning
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.tuning import Parameter, device_key, known_values, remember, value

SIZE = Parameter("op.size", "a size", default=4, values=(2, 4, 8), rows=(1,))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Paths of the shipped file and of the user's, both missing."""
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "_SHIPPED", tmp_path / "shipped.json")
    tuning._complain.cache_clear()
    tuning._refuse.cache_clear()
    user = tmp_path / "cache" / "tuning" / "tuning.json"
    user.parent.mkdir(parents=True)
    user.parent.chmod(0o700)
    return tmp_path / "shipped.json", user


def test_device_then_vendor_then_default(device: DeviceInfo, files: tuple[Path, Path]) -> None:
    shipped, user = files
    assert value(known_values(device), SIZE) == 4
    shipped.write_text(json.dumps({"vendors": {device.vendor: {"op.size": 2, "op.other": 1}}}))
    assert known_values(device) == {"op.size": 2, "op.other": 1}
    content = {"devices": {device_key(device): {"op.size": 8}, "another": {"op.size": 2}}}
    shipped.write_text(json.dumps(json.loads(shipped.read_text()) | content))
    assert known_values(device) == {"op.size": 8, "op.other": 1}
    user.write_text(json.dumps({"devices": {device_key(device): {"op.size": 4}}}))
    assert value(known_values(device), SIZE) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"devices": []}',
        b'{"devices": {"x": 3}}',
        b'{"devices": {"x": {"op.size": "8"}}}',
        b'{"devices": {"x": {"op.size": true}}}',
        b'{"other": {}}',
    ],
)
def test_a_damaged_file(
    device: DeviceInfo,
    files: tuple[Path, Path],
    content: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    files[1].write_bytes(content)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert known_values(device) == {}
    (record,) = caplog.records
    assert "tuning.json is not used" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert remember(device, {"op.size": 8}) == files[1]
    assert known_values(device) == {"op.size": 8}


def test_a_value_that_no_kernel_is_made_for(caplog: pytest.LogCaptureFixture) -> None:
    tuning._refuse.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [value({"op.size": 3}, SIZE) for _ in range(3)] == [4] * 3
    (record,) = caplog.records
    assert record.getMessage() == "tuning: op.size is 3, expected one of 2, 4, 8; 4 is taken"


def test_other_devices_values_are_kept(device: DeviceInfo, files: tuple[Path, Path]) -> None:
    files[1].write_text('{"devices": {"another": {"op.size": 2}}, "vendors": {"V": {"a": 1}}}')
    remember(device, {"op.size": 8})
    content = json.loads(files[1].read_text())
    assert content["devices"] == {"another": {"op.size": 2}, device_key(device): {"op.size": 8}}
    assert content["vendors"] == {"V": {"a": 1}}


def test_every_parameter_is_documented_and_its_default_allowed() -> None:
    assert len({p.name for p in ops.ALL_PARAMETERS}) == len(ops.ALL_PARAMETERS)
    for parameter in ops.ALL_PARAMETERS:
        assert parameter.default in parameter.values
        assert parameter.values == tuple(sorted(set(parameter.values)))
        assert parameter.operation in ("matmul", "attention")
        assert parameter.kernels in ("cpu", "portable", "amx", "mma", "dpas")
        assert parameter.meaning
        assert all(rows > 0 for rows in parameter.rows)


def test_the_shipped_values() -> None:
    content = json.loads(tuning._SHIPPED.read_bytes())
    assert tuning._problem(content) is None
    known = {p.name: p for p in ops.ALL_PARAMETERS}
    for values in (*content["devices"].values(), *content["vendors"].values()):
        for name, chosen in values.items():
            assert chosen in known[name].values
