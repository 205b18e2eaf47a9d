"""The options of sampling and of a text's end: what they are called, allow and default to."""

import argparse
import secrets
from collections.abc import Callable
from typing import Any

from cl_llama.cli.option_types import nonempty_text
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError

# RLLaMA's own defaults, so that its users get what they had.
_DEFAULTS = SamplingParams(temperature=1.0, top_k=20)

# Field of SamplingParams, type, metavar, help; an option that is off by default says so.
_OPTIONS: tuple[tuple[str, Callable[[str], float], str, str], ...] = (
    ("temperature", float, "T", "0 always takes the likeliest token; default: %(default)s"),
    (
        "dynatemp_range",
        float,
        "X",
        "let the temperature go up and down by X with the model's uncertainty; default: "
        "%(default)s, off",
    ),
    (
        "dynatemp_exponent",
        float,
        "X",
        "above 1, it goes up only where the model is very uncertain; default: %(default)s",
    ),
    ("top_k", int, "K", "draw from the K likeliest tokens; 0: from all; default: %(default)s"),
    (
        "top_p",
        float,
        "P",
        "draw from the fewest tokens whose probabilities reach P; default: %(default)s, off",
    ),
    (
        "min_p",
        float,
        "P",
        "leave out tokens below P times the likeliest one's probability; default: %(default)s, off",
    ),
    (
        "typical_p",
        float,
        "P",
        "draw from tokens about as surprising as the model expects, until their probabilities "
        "reach P; default: %(default)s, off",
    ),
    (
        "top_n_sigma",
        float,
        "N",
        "leave out tokens more than N standard deviations of all logits below the likeliest one; "
        "default: %(default)s, off",
    ),
    (
        "xtc_probability",
        float,
        "P",
        "leave out, with probability P at each token, all likely tokens but the least likely of "
        "them; default: %(default)s, off",
    ),
    ("xtc_threshold", float, "P", "the probability of a likely token; default: %(default)s"),
    (
        "mirostat",
        int,
        "N",
        "2: keep the text at a level of surprise, by Mirostat 2, which takes the place of all the "
        "cuts above; default: %(default)s, off",
    ),
    ("mirostat_tau", float, "X", "that level, in bits a token; default: %(default)s"),
    ("mirostat_eta", float, "X", "how fast it is gone back to; default: %(default)s"),
    (
        "repetition_penalty",
        float,
        "X",
        "above 1, tokens of the prompt and the text become less likely; default: %(default)s, off",
    ),
    (
        "presence_penalty",
        float,
        "X",
        "subtracted from the logits of tokens in the text; default: %(default)s",
    ),
    (
        "frequency_penalty",
        float,
        "X",
        "the same for each time that a token is in the text; default: %(default)s",
    ),
    (
        "dry_multiplier",
        float,
        "X",
        "by DRY, make tokens less likely that would go on with a repetition; 0.8 is usual; "
        "default: %(default)s, off",
    ),
    ("dry_base", float, "X", "DRY grows by X with every token of it; default: %(default)s"),
    ("dry_allowed_length", int, "N", "repetitions below N tokens are free; default: %(default)s"),
    (
        "dry_penalty_last_n",
        int,
        "N",
        "look for repetitions in the last N tokens only; -1: in all; default: %(default)s",
    ),
)


def add_sampling_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options that say how tokens are chosen."""
    for name, convert, metavar, text in _OPTIONS:
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=_sampling(name, convert),
            default=getattr(_DEFAULTS, name),
            metavar=metavar,
            help=text,
        )
    group.add_argument(
        "--dry-sequence-breaker",
        type=_breaker,
        action="append",
        metavar="TEXT",
        help="repetitions do not reach over TEXT, where \\n is a line break; may be given several "
        'times; none: over everything; default: a line break, a colon, " and *',
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
    breakers = args.dry_sequence_breaker
    return SamplingParams(
        **{name: getattr(args, name) for name, *_ in _OPTIONS},
        dry_sequence_breakers=_DEFAULTS.dry_sequence_breakers
        if breakers is None
        else tuple(text for text in breakers if text != "none"),
        max_new_tokens=args.max_new_tokens,
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


def _breaker(text: str) -> str:
    """A shell's arguments rarely hold line breaks and tabs."""
    return nonempty_text(text).replace("\\n", "\n").replace("\\t", "\t")


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
