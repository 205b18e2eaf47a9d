"""`cl-llama` without a command: continues a prompt."""

import argparse
import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cl_llama.cli.prompt import read_prompt
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError

if TYPE_CHECKING:
    from cl_llama.engine.request import FinishReason, RequestStats
    from cl_llama.opencl.devices import DeviceInfo
    from cl_llama.text_stream import StreamPiece, TextStream

INTERRUPTED = 130

# RLLaMA's own defaults, so that its users get what they had.
_TEMPERATURE, _TOP_K = 1.0, 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a generation to the program's parser."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model-path",
        metavar="PATH",
        help="a model's folder or file (.safetensors, .pth, llama2.c's .bin), or its name on the "
        "Hugging Face hub; default: the small embedded model",
    )
    model.add_argument(
        "--tokenizer-path",
        metavar="PATH",
        help="the tokenizer's file or folder, if it does not lie beside the model",
    )
    model.add_argument(
        "--param-path", metavar="FILE", help="stands in for the model's config.json or params.json"
    )
    model.add_argument(
        "--max-seq-len",
        type=_at_least_one,
        metavar="N",
        help="prompt and text together, in tokens; default: the model's own length, shortened to "
        "what fits the device",
    )
    prompt = parser.add_argument_group("prompt")
    prompts = prompt.add_mutually_exclusive_group()
    prompts.add_argument(
        "--prompt",
        type=_text,
        metavar="TEXT",
        help="the text to continue; - reads it from standard input; default: none, the model "
        "begins by itself",
    )
    prompts.add_argument(
        "--prompt-file",
        metavar="FILE",
        help="read the prompt from a UTF-8 file; a line break at its very end is left out",
    )
    prompt.add_argument(
        "--no-bos", action="store_true", help="put no beginning-of-text token before the prompt"
    )
    _add_sampling(parser.add_argument_group("sampling"))
    end = parser.add_argument_group("end of the text")
    end.add_argument(
        "--max-new-tokens",
        type=_sampling("max_new_tokens", int),
        metavar="N",
        help="tokens to generate at most; default: until the model ends or its context is full",
    )
    end.add_argument(
        "--stop",
        type=_stop,
        action="append",
        metavar="TEXT",
        help="end before this text; may be given several times",
    )
    end.add_argument(
        "--ignore-eos", action="store_true", help="go on after the model's end-of-text tokens"
    )
    _add_device(parser.add_argument_group("device"))
    _add_output(parser.add_argument_group("output"))
    parser.set_defaults(func=run)


def misuse(args: argparse.Namespace) -> str | None:
    """What is wrong about options that are right on their own; None: nothing."""
    if args.model_path is None:
        for option in ("tokenizer_path", "param_path"):
            if getattr(args, option) is not None:
                flag = f"--{option.replace('_', '-')}"
                return f"argument {flag}: goes with --model-path; the embedded model has its own"
    return None


def run(args: argparse.Namespace) -> int:
    """Generate, print, and return the exit status; raises ClLlamaError."""
    prompt = read_prompt(args.prompt, args.prompt_file, quiet=args.quiet)
    params = _params(args)

    from cl_llama.cli.loading_bar import LoadingBar
    from cl_llama.llm import Llama
    from cl_llama.opencl.devices import select_device

    began = time.perf_counter()
    device = select_device(args.opencl_device)
    with LoadingBar(sys.stderr, hidden=args.quiet) as bar:
        llm = Llama.from_pretrained(
            args.model_path,
            device=device.index,
            tokenizer_path=args.tokenizer_path,
            param_path=args.param_path,
            max_seq_len=args.max_seq_len,
            precision=args.precision,
            max_threads=args.max_threads,
            progress=bar.visible,
            on_progress=bar.loaded,
        )
        load_seconds = time.perf_counter() - began
        with llm:
            no_bos = args.no_bos
            ids = llm.tokenizer.encode(prompt, add_bos=False, special=True) if no_bos else prompt
            with llm.stream(ids, params) as stream:
                bar.await_first_token()
                answer = _Answer(prompt if args.echo else "", streamed=not args.json)
                interrupted = _read(stream, answer, bar.close)
                stats = stream.stats
    if args.json:
        print(json.dumps(_as_json(answer, params, stats, device, load_seconds)))
    else:
        answer.end()
    if args.verbose:
        _report(answer, params, stats, device, load_seconds)
    return INTERRUPTED if interrupted else 0


@dataclass
class _Answer:
    """The text so far; a streamed one is on standard output already."""

    text: str
    streamed: bool
    token_ids: list[int] = field(default_factory=list)
    finish_reason: "FinishReason | None" = None

    def __post_init__(self) -> None:
        self._print(self.text)

    def add(self, piece: "StreamPiece") -> None:
        self.text += piece.text
        if piece.token_id is not None:
            self.token_ids.append(piece.token_id)
        self.finish_reason = piece.finish_reason
        self._print(piece.text)

    def end(self) -> None:
        """One line break after the text, whatever the text's own end is."""
        self._print("\n")

    def _print(self, text: str) -> None:
        if self.streamed and text:
            sys.stdout.write(text)
            sys.stdout.flush()


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
        if answer.text:
            answer.end()  # the error's line does not follow the text's last one
        raise
    return False


def _add_sampling(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--temperature",
        type=_sampling("temperature", float),
        default=_TEMPERATURE,
        metavar="T",
        help="0 always takes the likeliest token; default: %(default)s",
    )
    group.add_argument(
        "--top-k",
        type=_sampling("top_k", int),
        default=_TOP_K,
        metavar="K",
        help="draw from the K likeliest tokens; 0: from all; default: %(default)s",
    )
    group.add_argument(
        "--top-p",
        type=_sampling("top_p", float),
        default=1.0,
        metavar="P",
        help="draw from the fewest tokens whose probabilities reach P; default: %(default)s, off",
    )
    group.add_argument(
        "--min-p",
        type=_sampling("min_p", float),
        default=0.0,
        metavar="P",
        help="leave out tokens below P times the likeliest one's probability; default: "
        "%(default)s, off",
    )
    group.add_argument(
        "--repetition-penalty",
        type=_sampling("repetition_penalty", float),
        default=1.0,
        metavar="X",
        help="above 1, tokens of the prompt and the text become less likely; default: "
        "%(default)s, off",
    )
    group.add_argument(
        "--presence-penalty",
        type=_sampling("presence_penalty", float),
        default=0.0,
        metavar="X",
        help="subtracted from the logits of tokens in the text; default: %(default)s",
    )
    group.add_argument(
        "--frequency-penalty",
        type=_sampling("frequency_penalty", float),
        default=0.0,
        metavar="X",
        help="the same for each time that a token is in the text; default: %(default)s",
    )
    group.add_argument(
        "--logit-bias",
        type=_bias,
        action="append",
        metavar="ID=VALUE",
        help="add VALUE to the logit of token ID; may be given several times",
    )
    group.add_argument(
        "--seed",
        type=_sampling("seed", int),
        metavar="N",
        help="the same seed gives the same text; default: a new one each time",
    )


def _add_device(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--opencl-device",
        metavar="N|NAME",
        help="number or part of the name, as cl-llama devices lists them; default: CL_LLAMA_DEVICE,"
        " else the best one",
    )
    group.add_argument(
        "--precision",
        choices=("high", "fast"),
        help="high, the default: float32 throughout; fast permits matrix units of lower precision "
        "where a kernel has them; none has yet, so both give the same",
    )
    group.add_argument(
        "--f16",
        action="store_true",
        help="accepted for RLLaMA's sake: the weights are float16 always",
    )
    group.add_argument(
        "--max-threads",
        type=_at_least_one,
        metavar="N",
        help="on CPU devices, the most cores to run on; default: all",
    )


def _add_output(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--echo", action="store_true", help="print the prompt before the text")
    group.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object at the end: the text, its tokens, why it ended, times",
    )
    amount = group.add_mutually_exclusive_group()
    amount.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    amount.add_argument(
        "--verbose", action="store_true", help="show the device, times and speeds at the end"
    )


def _params(args: argparse.Namespace) -> SamplingParams:
    """A seed is drawn here, so that a text can be had again by the seed that was told."""
    return SamplingParams(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        presence_penalty=args.presence_penalty,
        frequency_penalty=args.frequency_penalty,
        logit_bias=dict(args.logit_bias or ()),
        seed=secrets.randbits(32) if args.seed is None else args.seed,
        stop=tuple(args.stop or ()),
        stop_token_ids=() if args.ignore_eos else None,
    )


def _sampling(name: str, convert: Callable[[str], float]) -> Callable[[str], float]:
    """The type of an option that is a field of SamplingParams, which knows what is allowed."""

    def parse(text: str) -> float:
        try:
            value = convert(text)
        except ValueError:
            kind = "a whole number" if convert is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {kind}, got {text!r}") from None
        _check(name, value)
        return value

    return parse


def _check(name: str, value: Any) -> None:
    try:
        SamplingParams(**{name: value})
    except RequestError as error:
        message = str(error).removeprefix(f"SamplingParams: {name} ").replace(", or None", "")
        raise argparse.ArgumentTypeError(message) from None


def _at_least_one(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that the locale's encoding does not have
        raise argparse.ArgumentTypeError(f"is not valid text: {text!r}") from None
    return text


def _stop(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return _text(text)


def _bias(text: str) -> tuple[int, float]:
    token, equals, bias = text.partition("=")
    try:
        pair = int(token), float(bias)
    except ValueError:
        equals = ""
    if not equals:
        raise argparse.ArgumentTypeError(f"must be a token's id, = and a number, got {text!r}")
    _check("logit_bias", dict([pair]))
    return pair


def _as_json(
    answer: _Answer,
    params: SamplingParams,
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
    params: SamplingParams,
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
        "ended by": f"{answer.finish_reason}",
        "seed": f"{params.seed}",
        "kernel cache": f"{kernels.entries} kernels, {kernels.bytes / 2**20:.1f} MiB",
    }
    for name, value in lines.items():
        print(f"{name + ':':14}{value}", file=sys.stderr)
