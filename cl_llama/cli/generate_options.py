"""The options of a generation: what they are called, what they allow, what they default to."""

import argparse
import secrets
from collections.abc import Callable
from typing import Any

from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError

# RLLaMA's own defaults, so that its users get what they had.
_TEMPERATURE, _TOP_K = 1.0, 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a generation to the program's parser."""
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model-path",
        metavar="PATH",
        help="a model's folder or file (.safetensors, .pth, .gguf, llama2.c's .bin), or its name "
        "on the Hugging Face hub: OWNER/NAME, or OWNER/NAME:Q4_K_M for a GGUF file; default: the "
        "small embedded model",
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
        type=at_least_one,
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
    _add_chat(parser.add_argument_group("chat"))
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


def misuse(args: argparse.Namespace) -> str | None:
    """What is wrong about options that are right on their own; None: nothing."""
    if args.model_path is None:
        for option in ("tokenizer_path", "param_path"):
            if getattr(args, option) is not None:
                flag = f"--{option.replace('_', '-')}"
                return f"argument {flag}: goes with --model-path; the embedded model has its own"
    if not args.chat:
        for option in ("system_prompt", "chat_template"):
            if getattr(args, option) is not None:
                return f"argument --{option.replace('_', '-')}: goes with --chat"
    elif args.no_bos:
        return "argument --no-bos: not with --chat, whose template begins the text"
    elif args.prompt is None and args.prompt_file is None:
        return "argument --chat: goes with --prompt or --prompt-file, the user's message"
    return None


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    """What the options ask of the sampler.

    A seed is drawn here, so that a text can be had again by the seed that was told.
    """
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


def _add_chat(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--chat",
        action="store_true",
        help="the prompt is a user's message, written in the model's chat template; the text is "
        "the answer",
    )
    group.add_argument(
        "--system-prompt", type=_text, metavar="TEXT", help="what the model is told before it"
    )
    group.add_argument(
        "--chat-template",
        type=_text,
        metavar="FILE|NAME|TEXT",
        help="another Jinja2 template: a file, a name among the model's own, llama2, llama3, "
        "chatml, or a template itself",
    )


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
    add_number_formats(group)
    group.add_argument(
        "--f16",
        action="store_true",
        help="accepted for RLLaMA's sake: the weights are float16 always",
    )
    group.add_argument(
        "--max-threads",
        type=at_least_one,
        metavar="N",
        help="on CPU devices, the most cores to run on; default: all",
    )
    group.add_argument(
        "--no-mmap",
        action="store_true",
        help="on CPU devices, copy float16 weights instead of computing in the files, which "
        "must not be cut short meanwhile",
    )


def add_number_formats(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say what a model's numbers are held in and multiplied as."""
    group.add_argument(
        "--precision",
        choices=("high", "fast"),
        help="high, the default with float weights: as exact as float32; fast, the default with "
        "quantised ones: one pass of the device's matrix unit (Intel AMX, NVIDIA's tensor cores, "
        "Intel's XMX), where it has one, and products of integers with blocks",
    )
    group.add_argument(
        "--quantize",
        choices=("q8_0", "q4_0", "q4_k"),
        help="bring float weights into blocks of 8 or 4 bits as they are loaded",
    )
    group.add_argument(
        "--kv-type",
        choices=("f16", "q8_0"),
        default="f16",
        help="what the cache holds of keys and values: f16, the default, or q8_0, bytes with a "
        "scale for every 32, in about half of the memory",
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


def at_least_one(text: str) -> int:
    """The type of an option that is a count."""
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
