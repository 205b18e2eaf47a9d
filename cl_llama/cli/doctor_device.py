"""What a child process of `cl-llama doctor` finds out about one device.

A process of its own, because a faulty driver may end it.
"""

import json
import sys

from cl_llama.errors import ClLlamaError
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.matrix_units import switched_off
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops.self_check import self_check


def main() -> None:
    """Check the device with the number of the command line; print failures and the operations.

    The answer is a list of runs: `unit`, the matrix unit or null; `operations`, how many were
    checked; `failures`, pairs of an operation and a reason.
    """
    device = select_device(int(sys.argv[1]))
    runs: list[dict[str, object]] = []
    for matrix_units in (False, True):
        if matrix_units and switched_off():
            continue
        try:
            runtime = Runtime(device, matrix_units=matrix_units)
            if matrix_units and runtime.matrix_unit is None and not runtime.vnni:
                continue
            outcomes = list(self_check(runtime))
        except ClLlamaError as error:
            runs.append({"unit": None, "operations": 0, "failures": [("open", str(error))]})
            break
        failures = [(o.operation, o.failure) for o in outcomes if o.failure]
        unit = runtime.matrix_unit or ("vnni" if runtime.vnni else None)
        operations = len(outcomes)
        runs.append({"unit": unit, "operations": operations, "failures": failures})
    print(json.dumps(runs))
