"""`cl-llama perplexity`: how well a model predicts a text, and how far it is from another."""

import argparse
import json
import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cl_llama.cli.model_options import add_number_formats
from cl_llama.cli.option_types import at_least_one
from cl_llama.cli.prompt import read_prompt

if TYPE_CHECKING:
    from cl_llama.llm import Llama
    from cl_llama.perplexity import LogitsReader, Perplexity, Windows

_CONTEXT = 512

_DESCRIPTION = """Measure a model's perplexity on a text: exp of the mean negative log-probability
of its tokens. The text is cut into windows of --ctx-size tokens as llama.cpp cuts it, each begins
with the beginning-of-text token, and the tokens of its second half are predicted. To compare a
quantised model with its origin, run the origin with --kl-base FILE, then the quantised one with
--kl-base FILE --kl-divergence; the files are llama.cpp's, 2 bytes for each predicted token and word
of the vocabulary."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "perplexity", help="measure how well a model predicts a text", description=_DESCRIPTION
    )
    model = parser.add_argument_group("model (default: the embedded one)")
    model.add_argument(
        "--model-path", metavar="PATH", help="a path or a name on the Hugging Face hub"
    )
    model.add_argument("--tokenizer-path", metavar="PATH", help="the tokenizer's file or folder")
    model.add_argument("--param-path", metavar="FILE", help="stands in for config.json")
    text = parser.add_argument_group("text")
    text.add_argument("-f", "--file", metavar="FILE", help="UTF-8 text; -: standard input")
    text.add_argument(
        "-c",
        "--ctx-size",
        type=at_least_one,
        default=_CONTEXT,
        metavar="N",
        help="tokens of a window; default: %(default)s",
    )
    text.add_argument(
        "--stride",
        type=at_least_one,
        metavar="N",
        help="windows overlap: they begin N tokens apart, have N / 2 tokens more, and their last "
        "N tokens are predicted",
    )
    text.add_argument(
        "--chunks", type=at_least_one, metavar="N", help="windows to look at; default: all"
    )
    compared = parser.add_argument_group("comparison of two models")
    compared.add_argument(
        "--kl-base",
        metavar="FILE",
        help="write the log-probabilities of this model to a new file",
    )
    compared.add_argument(
        "--kl-divergence",
        action="store_true",
        help="compare this model with the one that --kl-base was written by; the text and its "
        "windows are in the file",
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
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print a JSON object")
    output.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; raises ClLlamaError."""
    from cl_llama.cli.bench_progress import BenchProgress
    from cl_llama.llm import Llama
    from cl_llama.opencl.devices import select_device
    from cl_llama.perplexity import (
        Divergence,
        LogitsReader,
        LogitsWriter,
        Perplexity,
        compare,
        measure,
    )
    from cl_llama.perplexity.logits_file import refuse_to_overwrite

    _check(args)
    base = Path(args.kl_base or "").expanduser()
    with ExitStack() as resources:
        reader = text = None
        if args.kl_divergence:
            reader = resources.enter_context(LogitsReader(base))
            longest = reader.windows.ids_WC.shape[1]
        else:
            if args.kl_base is not None:
                refuse_to_overwrite(base)
            dash = args.file == "-"
            text = read_prompt("-" if dash else None, None if dash else args.file, quiet=args.quiet)
            longest = args.ctx_size + (args.stride or 0) // 2
        device = select_device(args.opencl_device)
        progress = resources.enter_context(BenchProgress(sys.stderr, 1, hidden=args.quiet))
        llm = resources.enter_context(
            Llama.from_pretrained(
                args.model_path,
                device=device.index,
                tokenizer_path=args.tokenizer_path,
                param_path=args.param_path,
                max_seq_len=2 * longest,  # two windows are under way at a time
                precision=args.precision,
                quantize=args.quantize,
                kv_type=args.kv_type,
                max_threads=args.max_threads,
                progress=progress.visible,
                on_progress=progress.loaded,
            )
        )
        if longest > llm.config.max_seq_len:
            print(
                f"windows of {longest} tokens are longer than the {llm.config.max_seq_len} that "
                "the model was made for",
                file=sys.stderr,
            )
        windows = _windows(llm, args, text, reader)
        progress.expect(len(windows.ids_WC))
        progress.step("perplexity")

        def show_perplexity(found: Perplexity) -> None:
            progress.step(_estimate(found))

        def show_divergence(found: Divergence) -> None:
            kl = found.kl
            progress.step(f"{_estimate(found.perplexity)}, KL {kl.mean:.5f} ± {kl.error:.5f}")

        began = time.perf_counter()
        if reader is not None:
            figures = compare(llm.engine, windows, reader, show_divergence).as_json()
        else:
            writer = None
            if args.kl_base is not None:
                writer = resources.enter_context(LogitsWriter(base, windows, llm.config.vocab_size))
            perplexity = measure(llm.engine, windows, show_perplexity, writer)
            figures = {"perplexity": perplexity.value, "perplexity_error": perplexity.error}
        seconds = time.perf_counter() - began
    W, C = windows.ids_WC.shape
    if args.json:
        answer = {name: x if math.isfinite(x) else None for name, x in figures.items()} | {
            "predicted_tokens": W * windows.scored,
            "windows": W,
            "window_tokens": C,
            "device": {"index": device.index, "platform": device.platform, "name": device.name},
            "seconds": seconds,
            "tokens_per_second": W * C / seconds,
        }
        print(json.dumps(answer))
    else:
        _print(figures)
        print(
            f"{W * windows.scored} tokens in {W} windows of {C}, {seconds:.1f} s "
            f"({W * C / seconds:.0f} tokens/s)"
        )
    return 0


def _check(args: argparse.Namespace) -> None:
    from cl_llama.errors import RequestError

    if args.kl_divergence:
        if args.kl_base is None:
            raise RequestError(
                "--kl-divergence: goes with --kl-base FILE, the file to compare with"
            )
        if args.file is not None or args.stride is not None:
            raise RequestError("--kl-divergence: the text and its windows are in --kl-base's file")
    elif args.file is None:
        raise RequestError("perplexity: --file FILE is missing, the text to predict")
    elif args.kl_base is not None and args.stride is not None:
        raise RequestError("--kl-base: is for windows without --stride")


def _windows(
    llm: "Llama",
    args: argparse.Namespace,
    text: str | None,
    reader: "LogitsReader | None",
) -> "Windows":
    import numpy as np

    from cl_llama.errors import RequestError
    from cl_llama.perplexity import Windows, cut_windows, with_bos

    tokenizer = llm.tokenizer
    bos_id = tokenizer.bos_id if tokenizer.adds_bos else None
    if reader is None:
        ids = np.array(tokenizer.encode(text or ""), np.int32)
        return cut_windows(
            ids, args.ctx_size, bos_id=bos_id, stride=args.stride, chunks=args.chunks
        )
    if reader.vocab_size != llm.config.vocab_size:
        raise RequestError(
            f"{reader.path}: it has a vocabulary of {reader.vocab_size}, the model one of "
            f"{llm.config.vocab_size}; compare models of one family"
        )
    windows = reader.windows
    return Windows(with_bos(windows.ids_WC, bos_id)[: args.chunks], windows.scored)


def _estimate(perplexity: "Perplexity") -> str:
    return f"perplexity {perplexity.value:.4f} ± {perplexity.error:.4f}"


def _print(figures: dict[str, float]) -> None:
    width = max(map(len, figures)) + 2
    for name, value in figures.items():
        if name.endswith("_error"):
            continue
        error = figures.get(f"{name}_error")
        print(
            f"{name.replace('_', ' ') + ':':{width}}{value:.6g}"
            + ("" if error is None else f" ± {error:.3g}")
        )
