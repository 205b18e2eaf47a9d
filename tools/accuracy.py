"""Print how exact each device's logits are, as a Markdown table.

    PYTHONPATH=. python tools/accuracy.py [device number or name ...]

A row is a small model of tests/fixtures; a cell the relative RMS error of its logits against the
float64 reference on the values that the device holds (f16 weights, f16 keys and values), over a
prompt in one go and 15 tokens decoded one by one. A column is a device with one family of kernels:
its own, and on CPU devices also the portable one. Without arguments all devices are measured that
are not simulators.
"""

import re
import sys

from cl_llama.opencl.devices import DeviceInfo, list_devices, select_device
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.models import fixture_models

BOUND = 5e-5


def families(runtime: Runtime) -> list[Family]:
    """The families of kernels that a device can run, its own first."""
    return [runtime.family] if runtime.family == "portable" else ["cpu", "portable"]


def label(device: DeviceInfo, runtime: Runtime, family: Family) -> str:
    """A column's heading: the driver and its version; other kernels than its own are named."""
    name = device.platform.split("(")[0]
    for word, short in (("Portable Computing Language", "PoCL"), ("rusticl", "rusticl, llvmpipe")):
        name = name.replace(word, short)
    version = ".".join(re.findall(r"\d+", device.driver)[:2])
    return f"{name} {version}" + ("" if family == runtime.family else f", {family} kernels")


def main() -> None:
    """Measure every fixture on the devices named on the command line, or on all."""
    devices = [select_device(word) for word in sys.argv[1:]] or [
        device for device in list_devices() if device.type != "simulator"
    ]
    columns: dict[str, dict[str, float]] = {}
    for device in devices:
        runtime = Runtime(device)
        for family in families(runtime):
            heading = label(device, runtime, family)
            column = columns.setdefault(heading, {})
            for name in fixture_models.NAMES:
                known = fixture_models.truth(name)
                model = fixture_models.load(name, runtime, family=family)
                got = fixture_models.run_and_decode(model, known)
                column[name] = reference.relative_rms(got, known.logits)
                print(f"{heading}: {name} {column[name]:.1e}", file=sys.stderr)
    print(f"| Model | {' | '.join(columns)} |")
    print(f"| --- |{' --- |' * len(columns)}")
    for name in fixture_models.NAMES:
        print(f"| {name} | {' | '.join(f'{c[name]:.1e}' for c in columns.values())} |")
    worst = max(max(column.values()) for column in columns.values())
    print(f"| worst | {' | '.join(f'{max(c.values()):.1e}' for c in columns.values())} |")
    if not worst <= BOUND:
        raise SystemExit(f"an error of {worst:.1e} exceeds the bound of {BOUND:.0e}")


if __name__ == "__main__":
    main()
