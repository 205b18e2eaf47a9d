"""Child processes in which AMX instructions work: on the hardware, or emulated."""

import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cl_llama.opencl import amx

ROOT = Path(__file__).resolve().parents[2]
EMULATED = "CL_LLAMA_TEST_AMX"
"""Set to "emulated" in children of the emulator: tests/conftest.py adds the processor's flags."""


def why_not() -> str | None:
    """Why there is no emulator here."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the AMX emulator is for x86-64 Linux"
    if shutil.which("cc") is None:
        return "the AMX emulator needs a C compiler (cc)"
    return None


def hardware() -> bool:
    """Whether the processor itself has AMX, so that nothing is emulated."""
    return os.environ.get(EMULATED) != "emulated" and "amx_bf16" in amx.cpu_flags()


@functools.cache
def library(name: str) -> Path:
    """A C file of this folder, compiled to a library."""
    out = _folder() / f"{name}.so"
    options = ["-O3", "-march=native", "-ffp-contract=off", "-Wall", "-Wextra"]
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(
        ["cc", *options, "-shared", "-fPIC", "-o", out, source, "-ldl", "-lm"], check=True
    )
    return out


@functools.cache
def _folder() -> Path:
    """A folder that conftest.py removes with the run's cache."""
    return Path(tempfile.mkdtemp(prefix="amx-", dir=os.environ["CL_LLAMA_CACHE_DIR"]))


def run(
    arguments: list[str], role: str = "", timeout: float = 300, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` in the checkout, on the emulator unless there is real AMX.

    `role` is what the emulator plays (see emulator.c); with one, it is used anyway.
    """
    environment = os.environ | variables | {"PYTHONPATH": str(ROOT)}
    if role or not hardware():
        environment |= {
            "LD_PRELOAD": str(library("emulator")),
            "AMX_EMULATOR": role,
            EMULATED: "emulated",
        }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
