"""The options of sampling and of a text's end: what they are called, allow and default to."""

import argparse
import secrets
from collections.abc import Callable
from typing import Any

from cl_llama.cli.option_types import nonempty_text
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError

# RLLaMA's own defaults, so that its users get what they had.
_TEMPERATURE, _TOP_K = 1.0, 20


def add_sampling_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say how tokens are chosen."""
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


def add_end_options(end: "argparse._ArgumentGroup") -> None:
    """Add the options that say where a text ends."""
    end.add_argument(
        "--max-new-tokens",
        type=_sampling("max_new_tokens", int),
        metavar="N",
        help="tokens to generate at most; default: until the model ends or its context is full",
    )
    end.add_argument(
        "--stop",
        type=nonempty_text,
        action="append",
        metavar="TEXT",
        help="end before this text; may be given several times",
    )
    end.add_argument(
        "--ignore-eos", action="store_true", help="go on after the model's end-of-text tokens"
    )


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
