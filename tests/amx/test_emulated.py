"""The tests of what runs on Intel AMX, in child processes with the emulator."""

import re

import pytest

from tests.amx import emulation
from tests.conftest import run_devices

REASON = emulation.why_not() or (
    "the processor has AMX, and these tests run on it" if emulation.hardware() else None
)
pytestmark = pytest.mark.skipif(bool(REASON), reason=str(REASON))


@pytest.mark.parametrize(
    "tests",
    [
        "ops/test_matmul_amx.py",
        "ops/test_attention_amx.py",
        "ops/test_self_check.py",
        "models/test_llama_amx.py",
    ],
)
def test_on_the_emulator(device, tests):
    (name,) = (name for name, d in run_devices().items() if d.index == device.index)
    child = emulation.run(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "amx", f"tests/{tests}"],
        CL_LLAMA_TEST_DEVICES=name,
    )
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr[-1000:]
    passed = re.search(r"(\d+) passed", child.stdout)
    if passed is None:  # a device that runs no instructions of the processor
        pytest.skip(child.stdout.strip().splitlines()[-2])
    assert "skipped" not in child.stdout
