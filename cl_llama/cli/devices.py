"""`cl-llama devices`: lists the OpenCL devices."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from cl_llama.opencl.devices import DeviceInfo, Inventory, take_inventory
from cl_llama.opencl.install_hint import install_hint

if TYPE_CHECKING:
    from rich.table import Table

_DESCRIPTION = """List the OpenCL devices. The number is what --opencl-device and Python's device=
take; a part of the platform's or device's name works too. The device marked * is used when none is
chosen."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "devices", help="list the OpenCL devices", description=_DESCRIPTION
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the devices; what was passed over, and why, goes to standard error.

    The exit status is 1 where there is no device.

    Raises:
        DeviceError: pyopencl cannot be imported.
    """
    inventory = take_inventory()
    for line in inventory.skipped:
        print(f"passed over: {line}", file=sys.stderr)
    if args.json:
        print(json.dumps([_as_json(device) for device in inventory.devices], indent=2))
    elif inventory.devices:
        from rich.console import Console

        # Piped to grep or a file, a line stays whole.
        narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
        console = Console(width=None if narrow else 160, markup=False, emoji=False, highlight=False)
        with console.capture() as table:  # rich would end the program if the pipe is closed
            console.print(_table(inventory))
        print(table.get(), end="")
    if not inventory.devices:
        print(f"no OpenCL device was found; {install_hint()}", file=sys.stderr)
        return 1
    return 0


def _as_json(device: DeviceInfo) -> dict[str, Any]:
    return {
        "index": device.index,
        "default": device.is_default,
        "platform": device.platform,
        "name": device.name,
        "type": device.type,
        "vendor": device.vendor,
        "driver": device.driver,
        "version": device.version,
        "platform_version": device.platform_version,
        "global_mem_bytes": device.global_mem_bytes,
        "max_alloc_bytes": device.max_alloc_bytes,
        "compute_units": device.compute_units,
        "fp16": device.fp16,
        "subgroups": device.subgroups,
        "unified_memory": device.unified_memory,
    }


def _table(inventory: Inventory) -> "Table":
    """One row a device; fits 80 columns, and long names fold instead of being cut."""
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, caption="* is used when no device is chosen", caption_justify="left"
    )
    table.add_column("#", no_wrap=True)
    table.add_column("device\nplatform\ndriver", overflow="fold")
    table.add_column("type\nunits", no_wrap=True)
    table.add_column("memory\nlargest buffer", justify="right", no_wrap=True)
    table.add_column("fp16\nsubgroups", no_wrap=True)
    for device in inventory.devices:
        table.add_row(
            f"{device.index}{'*' if device.is_default else ''}",
            f"{device.name}\n{device.platform}\n{device.driver}",
            f"{device.type}\n{device.compute_units} unit{'' if device.compute_units == 1 else 's'}",
            f"{_gib(device.global_mem_bytes)}\n{_gib(device.max_alloc_bytes)}",
            f"{'fp16' if device.fp16 else 'no fp16'}\n"
            f"{'subgroups' if device.subgroups else 'no subgroups'}",
            end_section=True,
        )
    return table


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
