"""The check of a matrix unit: what a child process of `matrix_units.examine` runs.

A process of its own, because instructions that the device does not know end it.
"""

import contextlib
import json
import sys
from typing import cast

from cl_llama.errors import ClLlamaError
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.matrix_units import UNITS, UnitName
from cl_llama.opencl.runtime import Runtime


def main() -> None:
    """Check the unit, device number and device label of the command line; print what failed."""
    name, index, label = sys.argv[1:]
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core files of failed checks
    print(json.dumps(failure(cast(UnitName, name), int(index), label)))


def failure(name: UnitName, index: int, label: str) -> str:
    """What is wrong with a unit on a device, empty if nothing is. May end the process."""
    try:
        device = select_device(index)
        if device.label != label:
            return f"device {index} is another one in a child process: {device.label}"
        unit = UNITS[name]
        return unit.permission() or unit.check(Runtime(device, matrix_units=False)) or ""
    except ClLlamaError as error:
        return " ".join(str(error).split())
