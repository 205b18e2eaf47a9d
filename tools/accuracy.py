"""Print how exact each device's logits are, as a Markdown table.

    PYTHONPATH=. python tools/accuracy.py [--blocks] [device number or name ...]

A row is a small model of tests/fixtures; a cell the relative RMS error of its logits against the
float64 reference on the values that the device holds (f16 weights, f16 keys and values), over a
prompt in one go and 15 tokens decoded one by one. A column is a device with one family of kernels:
its own, and on CPU devices also the portable one; where a matrix unit works there is a column with
it, and one of --precision fast. Without arguments all devices are measured that are not simulators.

With --blocks a row is a format of blocks, its model that of tools/make_block_models.py, over a
prompt of ten tokens and one decoded; --precision fast has columns of its own where it differs.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from cl_llama.blocks import FORMATS
from cl_llama.opencl.devices import DeviceInfo, list_devices, select_device
from cl_llama.opencl.runtime import Family, Runtime
from cl_llama.ops import Precision
from tests import reference
from tests.models import block_models, fixture_models
from tools.make_block_models import write_block_model

BOUNDS: dict[Precision, float] = {"high": 5e-5, "fast": 1e-2}

Variant = tuple[Runtime, Family, Precision]
"""A way of computing."""


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


def variants(device: DeviceInfo) -> Iterator[Variant]:
    """Every way of computing with float16 weights that a device has."""
    runtime = Runtime(device, matrix_units=False)
    for family in families(runtime):
        yield runtime, family, "high"
    runtime = Runtime(device)
    if runtime.matrix_unit is not None:
        yield runtime, runtime.family, "high"
        yield runtime, runtime.family, "fast"


def block_variants(device: DeviceInfo) -> Iterator[Variant]:
    """The same with weights in blocks, of which only matrix units of GPUs make halves."""
    runtime = Runtime(device)
    for family in families(runtime):
        yield runtime, family, "high"
        if family == "cpu" or runtime.matrix_unit in ("mma", "dpas"):
            yield runtime, family, "fast"


def fixture_error(name: str, variant: Variant) -> float:
    """A fixture's."""
    runtime, family, precision = variant
    known = fixture_models.truth(name)
    model = fixture_models.load(name, runtime, family=family, precision=precision)
    return reference.relative_rms(fixture_models.run_and_decode(model, known), known.logits)


def make_block_error(folder: Path) -> Callable[[str, Variant], float]:
    """What measures the model of a format, which is written to the folder."""
    expected = {}
    for form in FORMATS:
        path = folder / f"{form}.gguf"
        write_block_model(path, form)
        expected[form] = block_models.expected_logits(path)

    def error(form: str, variant: Variant) -> float:
        runtime, family, precision = variant
        got = block_models.device_logits(
            folder / f"{form}.gguf", runtime, family=family, precision=precision
        )
        return reference.relative_rms(got, expected[form])

    return error


def measure(
    names: Iterable[str],
    ways: Iterable[Variant],
    error: Callable[[str, Variant], float],
    bounds: Mapping[Precision, float],
) -> bool:
    """Print the table of models and ways of computing; whether all errors are within the bounds."""
    columns: dict[str, dict[str, float]] = {}
    good = True
    for way in ways:
        heading = label(*way)
        column = columns.setdefault(heading, {})
        for name in names:
            column[name] = error(name, way)
            within = column[name] <= bounds[way[2]]
            good = good and within
            print(
                f"{heading}: {name} {column[name]:.1e}" + ("" if within else ", too large"),
                file=sys.stderr,
            )
    print(f"| Model | {' | '.join(columns)} |")
    print(f"| --- |{' --- |' * len(columns)}")
    for name in names:
        print(f"| {name} | {' | '.join(f'{c[name]:.1e}' for c in columns.values())} |")
    print(f"| worst | {' | '.join(f'{max(c.values()):.1e}' for c in columns.values())} |")
    return good


def main() -> None:
    """Measure on the devices named on the command line, or on all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", action="store_true", help="formats of blocks, not fixtures")
    parser.add_argument("devices", nargs="*", metavar="DEVICE", help="number or name")
    args = parser.parse_args()
    devices = [select_device(word) for word in args.devices] or [
        device for device in list_devices() if device.type != "simulator"
    ]
    if args.blocks:
        ways = (way for device in devices for way in block_variants(device))
        with tempfile.TemporaryDirectory() as folder:
            good = measure(
                tuple(FORMATS), ways, make_block_error(Path(folder)), block_models.LIMITS
            )
    else:
        ways = (way for device in devices for way in variants(device))
        good = measure(fixture_models.NAMES, ways, fixture_error, BOUNDS)
    if not good:
        raise SystemExit("errors beyond the bounds")


if __name__ == "__main__":
    main()
