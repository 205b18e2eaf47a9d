"""`cl-llama cache`: shows and clears the cache of built kernels."""

import argparse
import json
import sys

from cl_llama.opencl.programs import cache_info, clear_cache


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "cache",
        help="show or clear the cache of built kernels",
        description="Show where built kernels are kept and how large they are, or remove them. "
        "CL_LLAMA_CACHE_DIR moves the cache.",
    )
    parser.add_argument("--clear", action="store_true", help="remove the built kernels")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the cache's folder and size, as it is after `--clear`.

    The exit status is 1 where entries could not be removed.
    """
    removed = clear_cache() if args.clear else 0
    info = cache_info()
    if args.json:
        answer = {"path": str(info.path), "entries": info.entries, "bytes": info.bytes}
        if args.clear:
            answer["removed"] = removed
        print(json.dumps(answer))
    else:
        if args.clear:
            print(f"removed {removed} built kernels")
        print(f"{info.path}: {info.entries} built kernels, {info.bytes / 2**20:.1f} MiB")
    if args.clear and info.entries:
        print(f"{info.entries} entries could not be removed", file=sys.stderr)
        return 1
    return 0
