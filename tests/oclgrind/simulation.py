"""Runs programs in child processes on Oclgrind, and reads what its log found.

Oclgrind only prints what it finds, and reads its settings when it is loaded; what it does not
support may end its process.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cl_llama.opencl.devices import list_devices

ROOT = Path(__file__).resolve().parents[2]

# pyopencl asks every device for what only newer ones know; Oclgrind reports that as an error.
_QUERY = re.compile(r"Function: clGet\w+Info")


def available() -> bool:
    return any("oclgrind" in device.platform.lower() for device in list_devices())


@dataclass(frozen=True)
class Run:
    """How a child process ended, what it printed, and Oclgrind's findings, one text each."""

    returncode: int
    output: str
    findings: list[str]

    def assert_clean(self) -> None:
        assert self.returncode == 0, self.output[-4000:]
        assert not self.findings, "\n\n".join(self.findings[:5])


def run(
    arguments: list[str],
    log: Path,
    *,
    races: bool = False,
    uninitialized: bool = False,
    timeout: float = 300,
) -> Run:
    """Run Python with `arguments` in the checkout, Oclgrind checking as told."""
    environment = os.environ | {
        "CL_LLAMA_TEST_DEVICES": "oclgrind",
        "PYTHONPATH": str(ROOT),
        "OCLGRIND_LOG": str(log),
        "OCLGRIND_CHECK_API": "1",
    }
    environment.pop("RUSTICL_ENABLE", None)
    # For the canaries, which are built without the project's options: the optimiser makes
    # instructions that the checks do not know.
    environment["OCLGRIND_BUILD_OPTIONS"] = "-cl-opt-disable"
    if races:
        environment["OCLGRIND_DATA_RACES"] = "1"
    if uninitialized:
        environment["OCLGRIND_UNINITIALIZED"] = "1"
    child = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return Run(child.returncode, child.stdout, findings_in(log.read_text()))


def findings_in(log: str) -> list[str]:
    """The log's entries, which blank lines divide; failed queries are none."""
    entries = [entry.strip() for entry in re.split(r"\n[ \t]*\n", log)]
    return [entry for entry in entries if entry and not _QUERY.search(entry)]
