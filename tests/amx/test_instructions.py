"""The emulator, or the hardware where there is AMX, computes what the manual says, bit for bit."""

import signal

import pytest

from tests.amx import emulation

pytestmark = pytest.mark.skipif(bool(emulation.why_not()), reason=str(emulation.why_not()))


def run(case: str, role: str = ""):
    library = str(emulation.library("instructions"))
    return emulation.run(["tests/amx/run_instructions.py", library, case], role, timeout=60)


@pytest.mark.parametrize("case", ["bf16", "denormals", "int8", "tiles"])
def test_results(case):
    child = run(case)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize("case", ["unpermitted", "unconfigured", "misfit", "ud2"])
def test_what_is_not_allowed_ends_the_process(case):
    assert run(case).returncode == -signal.SIGILL


@pytest.mark.skipif(emulation.hardware(), reason="the hardware executes it whatever is played")
def test_roles():
    assert run("bf16", "fault").returncode == -signal.SIGILL
    assert "Arrays are not equal" in run("bf16", "wrong").stderr
    assert "AssertionError" in run("bf16", "deny").stderr
