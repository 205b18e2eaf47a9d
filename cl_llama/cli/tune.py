"""`cl-llama tune`: finds the fastest kernel parameters for a device."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cl_llama.bench.tuner import Found
    from cl_llama.opencl.tuning import Parameter, Values

_DESCRIPTION = """Search the parameters of a device's kernels for the fastest values, by timing a
gated network and attention of usual sizes, and keep those that differ from the defaults in the
user's cache. Every model on that device uses them from then on. Texts do not change but for
rounding. Nothing else should run meanwhile."""
_BUDGET = 150


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "tune", help="find the fastest kernel parameters", description=_DESCRIPTION
    )
    parser.add_argument(
        "--device",
        "--opencl-device",
        dest="opencl_device",
        metavar="N|NAME",
        help="number or part of the name, as cl-llama devices lists them; default: the best one",
    )
    parser.add_argument(
        "--budget",
        type=_seconds,
        default=_BUDGET,
        metavar="SECONDS",
        help="how long to search; default: %(default)s",
    )
    parser.add_argument(
        "--list", action="store_true", help="describe the device's parameters and search nothing"
    )
    parser.add_argument("--dry-run", action="store_true", help="search, but keep nothing")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Search, print a table, write the file; 1 where it could not be written."""
    from rich.console import Console
    from rich.progress import Progress

    from cl_llama import ops
    from cl_llama.bench.tuner import chosen, tune
    from cl_llama.bench.tuner_trial import KernelTrial
    from cl_llama.opencl.devices import select_device
    from cl_llama.opencl.runtime import Runtime
    from cl_llama.opencl.tuning import remember

    device = select_device(args.opencl_device)
    runtime = Runtime(device)
    parameters = ops.parameters(runtime)
    if args.list:
        _describe(device.label, parameters, runtime.tuning, as_json=args.json)
        return 0
    steps = sum(len(parameter.values) - 1 for parameter in parameters)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("tuning", total=steps)

        def on_step(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        found = tune(runtime, parameters, KernelTrial(runtime), budget=args.budget, on_step=on_step)
    values = chosen(runtime.tuning, parameters)
    runtime.close()
    path = None if args.dry_run else remember(device, values)
    for note in (note for f in found for note in f.notes):
        print(note, file=sys.stderr)
    if args.json:
        answer = {"device": device.label, "file": str(path) if path else None}
        print(json.dumps(answer | {"results": [_row(f) for f in found]}))
    else:
        print(f"{'parameter':36}{'default':>9}{'best':>7}{'gain':>8}")
        for f in found:
            name, default = f.parameter.name, f.parameter.default
            print(f"{name:36}{default:9}{f.best:7}{f.gain:8.1%}")
    if path is not None:
        print(f"kept in {path}", file=sys.stderr)
    elif not args.dry_run:
        print("the cache folder cannot be written; nothing is kept", file=sys.stderr)
        return 1
    return 0


def _row(found: "Found") -> dict[str, object]:
    return {
        "parameter": found.parameter.name,
        "default": found.parameter.default,
        "best": found.best,
        "gain": round(found.gain, 4),
        "notes": list(found.notes),
    }


def _describe(
    label: str, parameters: Sequence["Parameter"], known: "Values", *, as_json: bool
) -> None:
    from cl_llama.opencl.tuning import value

    if as_json:
        rows = [
            {
                "parameter": p.name,
                "meaning": p.meaning,
                "default": p.default,
                "values": list(p.values),
                "in_use": value(known, p),
            }
            for p in parameters
        ]
        print(json.dumps({"device": label, "parameters": rows}))
        return
    for p in parameters:
        values = ", ".join(map(str, p.values))
        print(f"{p.name} = {value(known, p)} (default {p.default}; {values})\n    {p.meaning}")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected seconds above 0")
    return seconds
