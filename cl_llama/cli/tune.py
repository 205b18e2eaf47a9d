"""`cl-llama tune`: finds the fastest kernel parameters for a device."""

import argparse
import json
import sys

_DESCRIPTION = """Search the parameters of a device's kernels for the fastest values, by timing
them on matrices of a usual size, and keep those that differ from the defaults in the user's cache.
Every model on that device uses them from then on. Texts do not change but for rounding. Takes about
a minute; nothing else should run meanwhile."""


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
    parser.add_argument("--dry-run", action="store_true", help="search, but keep nothing")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Search, print a table, write the file; 1 where it could not be written."""
    from rich.console import Console
    from rich.progress import Progress

    from cl_llama import ops
    from cl_llama.bench.tuner import MatmulTrial, chosen, tune
    from cl_llama.opencl.devices import select_device
    from cl_llama.opencl.runtime import Runtime
    from cl_llama.opencl.tuning import remember

    device = select_device(args.opencl_device)
    runtime = Runtime(device)
    parameters = ops.parameters(runtime)
    steps = sum(len(parameter.values) - 1 for parameter in parameters)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("tuning", total=steps)

        def on_step(what: str) -> None:
            progress.update(task, description=what)
            progress.advance(task)

        found = tune(runtime, parameters, MatmulTrial(runtime), on_step)
    values = chosen(runtime.tuning, parameters)
    runtime.close()
    path = None if args.dry_run else remember(device, values)
    if args.json:
        rows = [
            {
                "parameter": f.parameter.name,
                "default": f.parameter.default,
                "best": f.best,
                "gain": round(f.gain, 4),
            }
            for f in found
        ]
        answer = {"device": device.label, "file": str(path) if path else None, "results": rows}
        print(json.dumps(answer))
    else:
        print(f"{'parameter':28}{'default':>9}{'best':>7}{'gain':>8}")
        for f in found:
            name, default = f.parameter.name, f.parameter.default
            print(f"{name:28}{default:9}{f.best:7}{f.gain:8.1%}")
    if path is not None:
        print(f"kept in {path}", file=sys.stderr)
    elif not args.dry_run:
        print("the cache folder cannot be written; nothing is kept", file=sys.stderr)
        return 1
    return 0
