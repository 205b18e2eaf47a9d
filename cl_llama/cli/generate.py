"""`cl-llama` without a command: continues a prompt."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cl_llama.cli.grammar_options import read_grammar
from cl_llama.cli.model_options import load_llama
from cl_llama.cli.prompt import read_prompt
from cl_llama.cli.sampling_options import sampling_params

if TYPE_CHECKING:
    from cl_llama.engine.params import SamplingParams
    from cl_llama.engine.request import FinishReason, RequestStats
    from cl_llama.grammar import Grammar, GrammarCompiler
    from cl_llama.llm import Llama
    from cl_llama.opencl.devices import DeviceInfo
    from cl_llama.text_stream import StreamPiece, TextStream

INTERRUPTED = 130


def run(args: argparse.Namespace) -> int:
    """Generate, print, and return the exit status; raises ClLlamaError."""
    if args.start_interactive:
        from cl_llama.cli import interactive

        return interactive.run(args)
    prompt = read_prompt(args.prompt, args.prompt_file, quiet=args.quiet)
    params = sampling_params(args)
    form = read_grammar(args)

    from cl_llama.cli.loading_bar import LoadingBar
    from cl_llama.opencl.devices import select_device

    began = time.perf_counter()
    device = select_device(args.opencl_device)
    with LoadingBar(sys.stderr, hidden=args.quiet) as bar:
        llm = load_llama(args, device.index, bar)
        load_seconds = time.perf_counter() - began
        with llm, _start(llm, prompt, params, form, args) as stream:
            bar.await_first_token()
            echo = f"{prompt}\n" if args.chat else prompt
            answer = _Answer(echo if args.echo else "", streamed=not args.json)
            interrupted = _read(stream, answer, bar.close)
            stats = stream.stats
    if args.json:
        print(json.dumps(_as_json(answer, params, stats, device, load_seconds)))
    else:
        answer.end()
    if args.verbose:
        _report(answer, params, stats, device, load_seconds)
    return INTERRUPTED if interrupted else 0


def _start(
    llm: "Llama",
    prompt: str,
    params: "SamplingParams",
    form: "Callable[[GrammarCompiler], Grammar] | None",
    args: argparse.Namespace,
) -> "TextStream":
    """Begin the text, or with `--chat` the answer."""
    mask = None if form is None else form(llm.grammars).mask()
    if args.chat:
        system = [{"role": "system", "content": args.system_prompt}]
        messages = [*(system if args.system_prompt else []), {"role": "user", "content": prompt}]
        return llm.stream_chat(messages, params, logit_mask=mask)
    ids = llm.tokenizer.encode(prompt, add_bos=False, special=True) if args.no_bos else prompt
    return llm.stream(ids, params, logit_mask=mask)


@dataclass
class _Answer:
    """The text so far; a streamed one is printed as it comes."""

    text: str
    streamed: bool
    printed: int = 0
    """Characters of the text that are on standard output."""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: "FinishReason | None" = None

    def add(self, piece: "StreamPiece") -> None:
        self.text += piece.text
        if piece.token_id is not None:
            self.token_ids.append(piece.token_id)
        self.finish_reason = piece.finish_reason
        self._print()

    def end(self) -> None:
        """One line break after the text, whatever the text's own end is."""
        self._print("\n")

    def _print(self, end: str = "") -> None:
        new = self.text[self.printed :] + end
        if self.streamed and new:
            sys.stdout.write(new)
            sys.stdout.flush()
            self.printed = len(self.text)


def _read(stream: "TextStream", answer: _Answer, on_first: Callable[[], None]) -> bool:
    """Read the stream to its end; whether Ctrl-C made it one."""
    try:
        for piece in stream:
            on_first()
            answer.add(piece)
    except KeyboardInterrupt:
        on_first()
        stream.close()
        for piece in stream:  # what was there already; waits for the engine's step
            answer.add(piece)
        return True
    except BaseException:
        on_first()
        if answer.printed:
            answer.end()  # the error's line does not follow the text's last one
        raise
    return False


def _as_json(
    answer: _Answer,
    params: "SamplingParams",
    stats: "RequestStats",
    device: "DeviceInfo",
    load_seconds: float,
) -> dict[str, Any]:
    return {
        "text": answer.text,
        "token_ids": answer.token_ids,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": stats.prompt_tokens,
        "generated_tokens": stats.generated_tokens,
        "draft_tokens": stats.draft_tokens,
        "accepted_draft_tokens": stats.accepted_draft_tokens,
        "seed": params.seed,
        "device": {"index": device.index, "platform": device.platform, "name": device.name},
        "timings": {
            "load_seconds": load_seconds,
            "seconds_to_first_token": stats.seconds_to_first_token,
            "prompt_tokens_per_second": stats.prompt_tokens_per_second,
            "generated_tokens_per_second": stats.generated_tokens_per_second,
        },
    }


def _report(
    answer: _Answer,
    params: "SamplingParams",
    stats: "RequestStats",
    device: "DeviceInfo",
    load_seconds: float,
) -> None:
    """What `--verbose` shows."""
    from cl_llama.opencl.programs import cache_info

    def rate(value: float | None) -> str:
        return "" if value is None else f", {value:.1f} tokens/s"

    first = stats.seconds_to_first_token
    kernels = cache_info()
    lines = {
        "device": device.label,
        "loaded in": f"{load_seconds:.2f} s",
        "prompt": f"{stats.prompt_tokens} tokens{rate(stats.prompt_tokens_per_second)}",
        "first token": "none" if first is None else f"after {first:.3f} s",
        "generated": f"{stats.generated_tokens} tokens{rate(stats.generated_tokens_per_second)}",
        "guessed": f"{stats.accepted_draft_tokens} of {stats.draft_tokens} tokens were right",
        "ended by": f"{answer.finish_reason}",
        "seed": f"{params.seed}",
        "kernel cache": f"{kernels.entries} kernels, {kernels.bytes / 2**20:.1f} MiB",
    }
    if not stats.draft_tokens:
        del lines["guessed"]
    for name, value in lines.items():
        print(f"{name + ':':14}{value}", file=sys.stderr)
