"""`cl-llama bench`: measures a model, or a shape with random weights, on a device."""

import argparse
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cl_llama.bench.shapes import SHAPES, find_shape
from cl_llama.cli.model_options import add_number_formats
from cl_llama.cli.option_types import at_least_one

if TYPE_CHECKING:
    from cl_llama.bench.report import Report

_DESCRIPTION = """Measure how fast a model runs on a device, and what share that is of what the
device's memory and arithmetic allow. Its read bandwidth and its float32 multiply-adds are measured
in the same run, in turn with the tests. pp512 is the pass of a prompt of 512 tokens, tg128 the
decoding of 128 tokens one by one, each after --depth tokens of context."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "bench", help="measure a model's speed on a device", description=_DESCRIPTION
    )
    model = parser.add_argument_group("model (default: the embedded one)")
    models = model.add_mutually_exclusive_group()
    models.add_argument(
        "model", nargs="?", metavar="MODEL", help="a path or a name on the Hugging Face hub"
    )
    models.add_argument("--model-path", metavar="PATH", help="the same")
    models.add_argument(
        "--shape",
        metavar="NAME",
        help="random weights in the shape of "
        + ", ".join(f"{shape.like} ({name})" for name, shape in SHAPES.items()),
    )
    tests = parser.add_argument_group("tests (N,N,...: each of them; 0: none)")
    tests.add_argument(
        "-p", "--prompt-tokens", type=_counts, default=[512], metavar="N", help="default: 512"
    )
    tests.add_argument(
        "-n", "--gen-tokens", type=_counts, default=[128], metavar="N", help="default: 128"
    )
    tests.add_argument(
        "-d",
        "--depth",
        type=_depths,
        default=[0],
        metavar="N",
        help="tokens of context before a test; default: 0",
    )
    tests.add_argument(
        "-b",
        "--batch-size",
        type=_counts,
        default=[1],
        metavar="N",
        help="sequences decoded together; default: 1",
    )
    tests.add_argument(
        "-r",
        "--repetitions",
        type=at_least_one,
        default=5,
        metavar="N",
        help="of each test; default: 5",
    )
    device = parser.add_argument_group("device")
    device.add_argument(
        "--opencl-device",
        "--device",
        metavar="N|NAME",
        help="number or part of the name, as cl-llama devices lists them",
    )
    add_number_formats(device)
    device.add_argument(
        "--max-threads", type=at_least_one, metavar="N", help="on CPU devices, the most cores"
    )
    device.add_argument(
        "--no-matrix-units", action="store_true", help="leave the device's matrix units alone"
    )
    device.add_argument(
        "--read-mib",
        type=at_least_one,
        default=1024,
        metavar="N",
        help="what a measurement of the bandwidth reads; default: 1024",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--json", action="store_true", help="print a JSON object on the last line, no table"
    )
    output.add_argument(
        "--profile",
        action="store_true",
        help="show each kernel's time, too, in a further run of every test",
    )
    output.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw tokens/s and their roofs against depth and batch size",
    )
    output.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; raises ClLlamaError."""
    shape = None if args.shape is None else find_shape(args.shape)

    from cl_llama.bench.measure import cache_positions, measure, plan
    from cl_llama.bench.plot import check_plotting, draw
    from cl_llama.bench.profile import profile
    from cl_llama.bench.report import Report
    from cl_llama.bench.roofs import PeakFma, ReadBandwidth, Roofs
    from cl_llama.bench.subject import Settings, load_subject
    from cl_llama.cli.bench_progress import BenchProgress
    from cl_llama.errors import RequestError
    from cl_llama.ops import BLOCK

    cases = plan(args.prompt_tokens, args.gen_tokens, args.depth, args.batch_size)
    if not cases:
        raise RequestError("bench: there is nothing to measure; give -p or -n a number above 0")
    if args.plot is not None:
        check_plotting(args.plot)
    settings = Settings(
        device=args.opencl_device,
        precision=args.precision,
        quantize=args.quantize,
        kv_type=args.kv_type,
        max_threads=args.max_threads,
        matrix_units=not args.no_matrix_units,
    )
    with ExitStack() as resources:
        progress = resources.enter_context(
            BenchProgress(sys.stderr, (args.repetitions + 1) * len(cases), hidden=args.quiet)
        )
        subject = load_subject(
            shape or args.model_path or args.model,
            settings,
            positions=cache_positions(cases, BLOCK),
            longest=max(case.positions for case in cases),
            prompt_tokens=max(args.prompt_tokens, default=1),
            resources=resources,
            progress=progress.visible,
            on_progress=progress.loaded,
        )
        reads = ReadBandwidth(subject.runtime, args.read_mib << 20)
        roofs = Roofs(reads, PeakFma(subject.runtime))
        results = measure(subject.model, cases, roofs, args.repetitions, progress.step)
        profiles = [profile(subject.model, case) for case in cases] if args.profile else []
        report = Report(subject, settings, results, reads.nbytes, profiles)
        if args.plot is not None:
            draw(report, args.plot)
    _print(report, as_json=args.json)
    return 0


def _print(report: "Report", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json()))
        return
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as captured:  # rich would end the program if the pipe is closed
        console.print("\n".join(report.lines()), soft_wrap=True)
        console.print(report.table())
        for step in report.profiles:
            console.print(step.table())
    print(captured.get(), end="")


def _counts(text: str) -> list[int]:
    """Numbers above 0; zeros stand for none."""
    return [count for count in _depths(text) if count]


def _depths(text: str) -> list[int]:
    try:
        values = [int(word) for word in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers of at least 0 with commas between them, got {text!r}"
        )
    return list(dict.fromkeys(values))
