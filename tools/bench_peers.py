"""Measures cl-llama beside other engines with the same weights, in turn, in one run.

    python tools/bench_peers.py --folder /tmp/peers-1b --threads 2 \\
        --python llama.cpp=~/peers/bin/python --python torch=~/torch/bin/python

Writes a random model of a named shape as a Hugging Face folder, if it is not there yet; each engine
makes its own format from it. With --quantize, one format after another, cl-llama and llama.cpp read
a GGUF file in it, which cl-llama writes, and OpenVINO its own nearest kind of weights. Every engine
runs in a process of its own, in the Python environment that --python names for its program
(llama.cpp, openvino, torch, tinygrad), and waits while another one computes. A repetition measures
all engines before the next begins, because a machine's speed drifts. An engine that does not load
is skipped, with the reason. The last line of standard output is JSON with --json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cl_llama.bench.shapes import SHAPES, find_shape
from cl_llama.convert.model import convert_model

_PEERS = Path(__file__).resolve().parent / "peers"


@dataclass(frozen=True)
class Engine:
    """What to start: a program of tools/peers and its settings."""

    program: str
    settings: dict[str, Any] = field(default_factory=dict)
    prefills: bool = True


_PROGRAMS = {
    "cl-llama": "cl_llama_peer.py",
    "llama.cpp": "llama_cpp_peer.py",
    "openvino": "openvino_peer.py",
    "torch": "torch_peer.py",
    "tinygrad": "tinygrad_peer.py",
}
ENGINES = {
    "cl-llama": Engine("cl-llama"),
    "cl-llama fast": Engine("cl-llama", {"precision": "fast"}),
    "cl-llama without matrix unit": Engine("cl-llama", {"matrix_units": False}),
    "cl-llama on PoCL": Engine("cl-llama"),
    "llama.cpp F16": Engine("llama.cpp"),
    "OpenVINO f32": Engine("openvino", {"hint": "f32"}),
    "OpenVINO bf16": Engine("openvino", {"hint": "bf16"}),
    "PyTorch float32": Engine("torch", {"dtype": "float32"}),
    "PyTorch bfloat16": Engine("torch", {"dtype": "bfloat16"}),
    "tinygrad": Engine("tinygrad", prefills=False),
}
_OPENVINO_WEIGHTS = {"q8_0": "int8", "q4_0": "int4", "q4_k": "int4"}


def quantized_engines(form: str) -> dict[str, Engine]:
    """Those that compute with weights in a format, or in one of about as many bits."""
    settings = {"quantize": form}
    weights = _OPENVINO_WEIGHTS[form]
    return {
        f"{form}: cl-llama fast": Engine("cl-llama", settings | {"precision": "fast"}),
        f"{form}: cl-llama high": Engine("cl-llama", settings | {"precision": "high"}),
        f"{form}: llama.cpp": Engine("llama.cpp", settings),
        f"{form}: OpenVINO {weights}": Engine("openvino", {"hint": "f32", "weights": weights}),
    }


class PeerError(Exception):
    """An engine that does not load or does not answer; the message is its reason."""


class Peer:
    """An engine's process."""

    def __init__(self, python: str, engine: Engine, settings: dict[str, Any]) -> None:
        """Start it and wait until its model is loaded. PeerError if it is not."""
        words = [python, str(_PEERS / _PROGRAMS[engine.program])]
        environment = os.environ | {"OMP_NUM_THREADS": str(settings["threads"])}
        try:
            self._process = subprocess.Popen(
                [*words, json.dumps(settings | engine.settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
            )
        except OSError as error:
            raise PeerError(f"{python}: {error.strerror}") from None
        try:
            self.description: str = self._answer()["description"]
        except PeerError:
            self.close()
            raise

    def prefill(self, tokens: int) -> float:
        """Seconds of a prompt's pass."""
        return self._ask(ask="prefill", tokens=tokens)

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of `tokens` steps after `depth` tokens of context."""
        return self._ask(ask="decode", tokens=tokens, depth=depth)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, **question: Any) -> float:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"it ended with status {self._process.wait()}") from None
        return float(self._answer()["seconds"])

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"it ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"].splitlines()[0])
        return answer


@dataclass
class Column:
    """What became of an engine."""

    engine: Engine
    peer: Peer | None
    description: str = ""
    skipped: str = ""
    """Why there is nothing, or no more."""
    rates: dict[str, list[float]] = field(default_factory=dict)
    """Tokens a second of each repetition, by test."""
    slow: dict[str, int] = field(default_factory=dict)
    """By kind of test, how many tokens took too long: neither they nor more are run again."""

    def medians(self) -> dict[str, float]:
        """By test."""
        return {test: statistics.median(rates) for test, rates in self.rates.items() if rates}


def measure(
    columns: dict[str, Column],
    tests: Sequence[tuple[str, int]],
    depth: int,
    repetitions: int,
    patience: float,
    log: Console,
) -> None:
    """Every test of every engine in turn; once before that, not counted.

    tests: kind ("pp" or "tg") and number of tokens, fewest first. patience: after a test of more
    seconds an engine runs neither it nor longer ones again; its one time counts.
    """
    for repetition in range(-1, repetitions):
        for name, column in columns.items():
            for kind, tokens in tests:
                if column.peer is None or tokens >= column.slow.get(kind, tokens + 1):
                    continue
                if kind == "pp" and not column.engine.prefills:
                    continue
                try:
                    if kind == "pp":
                        seconds = column.peer.prefill(tokens)
                    else:
                        seconds = column.peer.decode(tokens, depth)
                except PeerError as error:
                    column.peer.close()
                    column.peer, column.skipped = None, str(error)
                    continue
                if seconds > patience:
                    column.slow[kind] = tokens
                if repetition >= 0 or seconds > patience:
                    rate = tokens / seconds
                    column.rates.setdefault(f"{kind}{tokens}", []).append(rate)
                    log.print(f"{repetition + 1} {name}: {kind}{tokens} {rate:.2f} tokens/s")


def ratios(columns: dict[str, Column]) -> dict[str, dict[str, dict[str, float]]]:
    """Ours over theirs: by our engine, by the other one, by test that both ran."""
    medians = {name: column.medians() for name, column in columns.items() if column.rates}
    ours = [name for name in medians if columns[name].engine.program == "cl-llama"]
    theirs = [name for name in medians if name not in ours]
    return {
        our: {
            their: {
                test: rate / medians[their][test]
                for test, rate in medians[our].items()
                if test in medians[their]
            }
            for their in theirs
        }
        for our in ours
    }


def main(argv: list[str] | None = None) -> int:
    """Prepare, load, measure, print; 1 if nothing could be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="1b", choices=SHAPES)
    parser.add_argument("--folder", type=Path, required=True, help="for the model in all formats")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", help="cl-llama's; default: the best one")
    parser.add_argument(
        "--pocl-device", default="portable", help="that of cl-llama on PoCL; default: %(default)s"
    )
    models = parser.add_mutually_exclusive_group()
    models.add_argument(
        "--engines", default=",".join(ENGINES), help="some of these, the default: %(default)s"
    )
    models.add_argument(
        "--quantize",
        nargs="+",
        choices=_OPENVINO_WEIGHTS,
        metavar="FORMAT",
        help=f"weights in {', '.join(_OPENVINO_WEIGHTS)}, each in turn, instead of float ones",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PROGRAM=PATH",
        help=f"the Python to run {', '.join(_PROGRAMS)} with; default: this one",
    )
    parser.add_argument("-p", "--prompt-tokens", default="128,512", metavar="N,...")
    parser.add_argument("-n", "--gen-tokens", type=int, default=16, metavar="N")
    parser.add_argument("-d", "--depth", type=int, default=0, metavar="N")
    parser.add_argument("-r", "--repetitions", type=int, default=5, metavar="N")
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="what takes longer is measured once, and longer prompts are left out; default: 30",
    )
    parser.add_argument("--json", action="store_true", help="print JSON on the last line, too")
    args = parser.parse_args(argv)
    pythons = dict(word.split("=", 1) for word in args.python)
    names = args.engines.split(",")
    for unknown in (*(set(pythons) - set(_PROGRAMS)), *(set(names) - set(ENGINES))):
        parser.error(f"there is no {unknown!r}")
    prompts = sorted({int(word) for word in args.prompt_tokens.split(",") if int(word)})
    tests = [("pp", tokens) for tokens in prompts] + [("tg", args.gen_tokens)]

    if not args.folder.exists():
        maker = [sys.executable, str(_PEERS.parent / "make_random_model.py"), args.shape]
        subprocess.run([*maker, str(args.folder), "--max-seq-len", "8192"], check=True)
    settings = {
        "folder": str(args.folder.resolve()),
        "threads": args.threads,
        "vocab_size": find_shape(args.shape).vocab_size,
        "longest": max([args.depth + args.gen_tokens + 8, *prompts]),
    }
    if args.quantize is None:
        rounds = [{name: ENGINES[name] for name in names}]
    else:
        for form in args.quantize:
            _write_gguf(args.folder, form)
        rounds = [quantized_engines(form) for form in args.quantize]
    log = Console(stderr=True, highlight=False)
    columns: dict[str, Column] = {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for engines in rounds:
        together: dict[str, Column] = {}
        try:
            for name, engine in engines.items():
                device = args.pocl_device if name == "cl-llama on PoCL" else args.device
                python = pythons.get(engine.program, sys.executable)
                together[name] = _start(name, python, engine, settings | {"device": device}, log)
            measure(together, tests, args.depth, args.repetitions, args.patience, log)
        finally:
            for column in together.values():
                if column.peer is not None:
                    column.peer.close()
        _print_tables(together, [f"{kind}{tokens}" for kind, tokens in tests])
        columns |= together
        found |= ratios(together)
    if args.json:
        result = {
            "shape": args.shape,
            "threads": args.threads,
            "depth": args.depth,
            "engines": {
                name: {
                    "description": column.description or None,
                    "skipped": column.skipped or None,
                    "tokens_per_s": column.medians(),
                    "repetitions": column.rates,
                }
                for name, column in columns.items()
            },
            "ratios": found,
        }
        print(json.dumps(result))
    return 0 if any(column.rates for column in columns.values()) else 1


def _start(
    name: str, python: str, engine: Engine, settings: dict[str, Any], log: Console
) -> Column:
    """An engine with its model loaded, or why it is not."""
    try:
        peer = Peer(python, engine, settings)
    except PeerError as error:
        log.print(f"{name}: skipped: {error}")
        return Column(engine, None, skipped=str(error))
    log.print(f"{name}: {peer.description}")
    return Column(engine, peer, peer.description)


def _write_gguf(folder: Path, form: str) -> None:
    """The folder's model with weights in a format, if it is not there yet."""
    path = folder / f"model-{form}.gguf"
    if not path.exists():
        convert_model(folder, path, quantize=form, with_tokenizer=False)


def _print_tables(columns: dict[str, Column], tests: Sequence[str]) -> None:
    """Speeds, then a table of ratios for each of our engines."""
    medians = {name: column.medians() for name, column in columns.items() if column.rates}
    console = Console(highlight=False, markup=False)

    def show(title: str, rows: dict[str, dict[str, float]], form: str) -> None:
        table = Table("", box=box.SIMPLE_HEAD)
        for test in tests:
            table.add_column(test, justify="right")
        for name, values in rows.items():
            table.add_row(name, *(format(values[t], form) if t in values else "" for t in tests))
        console.print(title)
        console.print(table)

    show("tokens/s, medians", medians, ".4g")
    for our, rows in ratios(columns).items():
        if rows:
            show(f"{our} over", rows, ".2f")
    for name, column in columns.items():
        if column.skipped:
            console.print(f"{name}: skipped: {column.skipped}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
