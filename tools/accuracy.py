"""Print how exact each device's logits are, as a Markdown table.

    PYTHONPATH=. python tools/accuracy.py [device number or name ...]

A row is a small model of tests/fixtures; a cell the relative RMS error of its logits against the
float64 reference on the values that the device holds (f16 weights, f16 keys and values), over a
prompt in one go and 15 tokens decoded one by one. A column is a device with one family of kernels:
its own, and on CPU devices also the portable one; where a matrix unit works there is a column with
it, and one of --precision fast. Without arguments all devices are measured that are not simulators.
"""

import re
import sys
from collections.abc import Iterator

from cl_llama.opencl.devices import DeviceInfo, list_devices, select_device
from cl_llama.opencl.runtime import Family, Runtime
from cl_llama.ops import Precision
from tests import reference
from tests.models import fixture_models

BOUNDS: dict[Precision, float] = {"high": 5e-5, "fast": 1e-2}


def families(runtime: Runtime) -> list[Family]:
    """The families of kernels that a device can run, its own first."""
    return [runtime.family] if runtime.family == "portable" else ["cpu", "portable"]


def label(runtime: Runtime, family: Family, precision: Precision) -> str:
    """A column's heading: the driver and its version, and what is not its plain kernels."""
    name = runtime.device.platform.split("(")[0]
    for word, short in (("Portable Computing Language", "PoCL"), ("rusticl", "rusticl, llvmpipe")):
        name = name.replace(word, short)
    version = ".".join(re.findall(r"\d+", runtime.device.driver)[:2])
    other = "" if family == runtime.family else f", {family} kernels"
    unit = "" if runtime.matrix_unit is None else f", {runtime.matrix_unit}"
    return f"{name} {version}{other}{unit}" + (", fast" if precision == "fast" else "")


def variants(device: DeviceInfo) -> Iterator[tuple[Runtime, Family, Precision]]:
    """Every way of computing that a device has."""
    runtime = Runtime(device, matrix_units=False)
    for family in families(runtime):
        yield runtime, family, "high"
    runtime = Runtime(device)
    if runtime.matrix_unit is not None:
        yield runtime, runtime.family, "high"
        yield runtime, runtime.family, "fast"


def main() -> None:
    """Measure every fixture on the devices named on the command line, or on all."""
    devices = [select_device(word) for word in sys.argv[1:]] or [
        device for device in list_devices() if device.type != "simulator"
    ]
    columns: dict[str, dict[str, float]] = {}
    too_large = []
    for device in devices:
        for runtime, family, precision in variants(device):
            heading = label(runtime, family, precision)
            column = columns.setdefault(heading, {})
            for name in fixture_models.NAMES:
                known = fixture_models.truth(name)
                model = fixture_models.load(name, runtime, family=family, precision=precision)
                got = fixture_models.run_and_decode(model, known)
                column[name] = reference.relative_rms(got, known.logits)
                print(f"{heading}: {name} {column[name]:.1e}", file=sys.stderr)
                if not column[name] <= BOUNDS[precision]:
                    too_large.append(f"{heading}: {name} {column[name]:.1e}")
    print(f"| Model | {' | '.join(columns)} |")
    print(f"| --- |{' --- |' * len(columns)}")
    for name in fixture_models.NAMES:
        print(f"| {name} | {' | '.join(f'{c[name]:.1e}' for c in columns.values())} |")
    print(f"| worst | {' | '.join(f'{max(c.values()):.1e}' for c in columns.values())} |")
    if too_large:
        raise SystemExit(f"beyond the bounds {BOUNDS}: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
