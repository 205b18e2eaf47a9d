"""`cl-llama doctor`: says what works here, what does not, and what to do about it."""

import argparse
import importlib.metadata
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cl_llama
from cl_llama.errors import DeviceError
from cl_llama.opencl.cache import cache_root, private_folder, write_file
from cl_llama.opencl.child import ChildError, ask_child
from cl_llama.opencl.devices import DeviceInfo, Inventory, select_device, take_inventory
from cl_llama.opencl.install_hint import install_hint
from cl_llama.opencl.matrix_units import SWITCH, UNITS, distrust, examine, switched_off
from cl_llama.opencl.programs import cache_info, kernels_dir

_DESCRIPTION = """Check the installation and every OpenCL device that is no simulator: the kernels
are built, and the main operations compared with NumPy. One line a finding: ok, note, or broken with
what to do. The exit status is 1 if something is broken."""

_PACKAGES = (
    "pyopencl",
    "numpy",
    "safetensors",
    "sentencepiece",
    "tiktoken",
    "tokenizers",
    "intel-opencl-rt",
    "huggingface_hub",
)
_DEVICE_TIMEOUT = 900
_DEVICE_CHECK = "cl_llama.cli.doctor_device"
_ADVICE = (
    "update the device's driver; until then name another device by --opencl-device "
    "(cl-llama devices lists them)"
)


@dataclass(frozen=True)
class Finding:
    """A line of the report."""

    state: Literal["ok", "note", "broken"]
    subject: str
    text: str


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "doctor", help="check the installation and the devices", description=_DESCRIPTION
    )
    parser.add_argument(
        "--opencl-device",
        metavar="N|NAME",
        help="check this device only; number or part of the name, as cl-llama devices lists them",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; text as they are made.

    Raises:
        DeviceError: there is no such device.
    """
    findings = []
    for finding in examine_all(args.opencl_device):
        findings.append(finding)
        if not args.json:
            print(f"{finding.state:<6}  {finding.subject}: {finding.text}", flush=True)
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    return int(any(finding.state == "broken" for finding in findings))


def examine_all(selector: str | None = None) -> Iterator[Finding]:
    """Everything about this machine, or about one of its devices."""
    yield versions()
    yield cache()
    try:
        kernels_dir()
        inventory = take_inventory()
    except DeviceError as error:
        yield Finding("broken", "installation", str(error))
        return
    if selector is not None:
        inventory = Inventory((select_device(selector),), ())
    for line in inventory.skipped:
        yield Finding("note", "passed over", line)
    devices = [d for d in inventory.devices if selector is not None or d.type != "simulator"]
    if not devices:
        yield Finding("broken", "devices", f"there is no OpenCL device; {install_hint()}")
    for device in devices:
        yield from matrix_units(device)
        yield from operations(device)


def versions() -> Finding:
    """Versions of what is installed; what a message to the project should begin with."""
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    system = f"{platform.system()} {platform.release()} on {platform.machine()}"
    return Finding("ok", f"cl-llama {cl_llama.__version__}", f"{system}; {', '.join(found)}")


def cache() -> Finding:
    """Whether built kernels are kept."""
    info = cache_info()
    folder = private_folder(info.path.name)
    if folder is None or not write_file(folder / ".doctor", b""):
        advice = (
            "kernels cannot be kept there, and every start builds them anew; make it a folder of "
            "your own that only you can write to, or name another one by CL_LLAMA_CACHE_DIR"
        )
        return Finding("broken", f"cache {cache_root()}", advice)
    (folder / ".doctor").unlink(missing_ok=True)
    text = f"{info.entries} built kernels, {info.bytes / 2**20:.1f} MiB"
    return Finding("ok", f"cache {cache_root()}", text)


def matrix_units(device: DeviceInfo) -> Iterator[Finding]:
    """What a new check of each matrix unit says; nothing of those that the device has not."""
    if switched_off():
        yield Finding("note", f"device {device.label}", f"matrix units are off ({SWITCH})")
        return
    for name in UNITS:
        found = examine(name, device, again=True)
        if found.state == "works":
            yield Finding("ok", f"device {device.label}", f"matrix unit {name} works")
        elif found.state == "failed":
            text = f"matrix unit {name} is not used, which costs speed: {found.reason}"
            yield Finding("note", f"device {device.label}", text)


def operations(device: DeviceInfo) -> Iterator[Finding]:
    """How the main operations do on a device."""
    subject = f"device {device.label} (driver {device.driver})"
    try:
        runs: list[dict[str, Any]] = ask_child(
            _DEVICE_CHECK, str(device.index), timeout=_DEVICE_TIMEOUT
        )
    except ChildError as error:
        text = f"the process that ran its kernels {error}; {_ADVICE}"
        yield Finding("broken", subject, text)
        return
    for run in runs:
        by = f" by {run['unit']}" if run["unit"] else ""
        for operation, reason in run["failures"]:
            text = f"{operation}{by} fails: {' '.join(reason.split())}; {_ADVICE}"
            yield Finding("broken", subject, text)
        if run["unit"] and run["failures"]:
            distrust(run["unit"], device, f"cl-llama doctor: {run['failures'][0][0]} fails")
        right = run["operations"] - len(run["failures"])
        if right:
            text = f"{right} of {run['operations']} operations{by} agree with NumPy"
            yield Finding("note" if run["failures"] else "ok", subject, text)
