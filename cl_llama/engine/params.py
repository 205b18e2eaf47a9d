"""What a request asks of the sampler, checked when it is written down."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, SupportsFloat, SupportsIndex

from cl_llama.errors import RequestError


@dataclass(frozen=True)
class SamplingParams:
    """How to choose tokens and when to stop. Every value is checked: RequestError names the field.

    Logits pass in this order: repetition, presence and frequency penalty, logit bias, the request's
    mask; then the largest one wins if `temperature` is 0; otherwise they are divided by the
    temperature, cut by top-k, top-p and min-p in this order, and one token is drawn.
    """

    max_new_tokens: int | None = None
    """Tokens to generate at most; None: until the context is full."""
    temperature: float = 1.0
    """0 is greedy; of equal logits the lowest token id wins."""
    top_k: int = 0
    """Keep the k most likely tokens; 0: all."""
    top_p: float = 1.0
    """Keep the fewest most likely tokens whose probabilities reach this sum; 1: all."""
    min_p: float = 0.0
    """Keep tokens at least this many times as likely as the likeliest; 0: all."""
    repetition_penalty: float = 1.0
    """Divides positive, multiplies negative logits of tokens in the prompt or the text so far."""
    presence_penalty: float = 0.0
    """Subtracted once from the logits of tokens generated before."""
    frequency_penalty: float = 0.0
    """Subtracted from the logits of tokens generated before, once per occurrence."""
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    """Added to the logits of these token ids."""
    seed: int | None = None
    """The same seed gives the same text, whatever else is running; None: a random one."""
    stop: tuple[str, ...] = ()
    """Strings that end the text, which is cut before them; one string may be given as it is."""
    stop_token_ids: tuple[int, ...] | None = None
    """Tokens that end the text; None: the model's own end tokens; empty: none."""
    logprobs: int | None = None
    """Report each token's log-probability and those of this many likeliest; None: neither.

    They are the model's own: before penalties, bias, mask and temperature.
    """

    def __post_init__(self) -> None:
        """Check every field and bring it to its plain type."""
        self._convert("max_new_tokens", _optional(_integer(0)), "an int of at least 0, or None")
        self._convert("temperature", _number(0.0), "a finite number of at least 0")
        self._convert("top_k", _integer(0), "an int of at least 0 (0: off)")
        self._convert("top_p", _number(0.0, 1.0), "a number between 0 and 1 (1: off)")
        self._convert("min_p", _number(0.0, 1.0), "a number between 0 and 1 (0: off)")
        self._convert("repetition_penalty", _number(0.01, 100.0), "a number between 0.01 and 100")
        self._convert("presence_penalty", _number(-2.0, 2.0), "a number between -2 and 2 (0: off)")
        self._convert("frequency_penalty", _number(-2.0, 2.0), "a number between -2 and 2 (0: off)")
        self._convert("logit_bias", _biases, "a mapping of token ids to finite numbers")
        self._convert("seed", _optional(_integer(-(2**63), 2**64 - 1)), "a 64-bit int, or None")
        self._convert("stop", _strings, "a string or several, none of them empty")
        self._convert("stop_token_ids", _optional(_token_ids), "token ids (ints from 0), or None")
        self._convert("logprobs", _optional(_integer(0)), "an int of at least 0, or None")

    def _convert(self, name: str, convert: Callable[[Any], object], allowed: str) -> None:
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, convert(value))
        except (TypeError, ValueError, OverflowError):
            raise RequestError(f"SamplingParams: {name} must be {allowed}, got {value!r}") from None

    @property
    def penalises(self) -> bool:
        """Whether any penalty is on."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )


def _integer(low: int, high: float = math.inf) -> Callable[[SupportsIndex], int]:
    def convert(value: SupportsIndex) -> int:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return convert


def _number(low: float, high: float = math.inf) -> Callable[[SupportsFloat], float]:
    def convert(value: SupportsFloat) -> float:
        if isinstance(value, bool | str):
            raise TypeError
        number = float(value)
        if not math.isfinite(number) or not low <= number <= high:
            raise ValueError
        return number

    return convert


def _optional(convert: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: None if value is None else convert(value)


def _biases(value: Mapping[int, float] | None) -> Mapping[int, float]:
    number, token_id = _number(-math.inf), _integer(0)
    biases = {} if value is None else dict(value)
    return {token_id(key): number(bias) for key, bias in biases.items()}


def _strings(value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    strings = (value,) if isinstance(value, str) else tuple(value)
    for string in strings:
        if not isinstance(string, str):
            raise TypeError
        if not string:
            raise ValueError
    return strings


def _token_ids(value: Iterable[SupportsIndex]) -> tuple[int, ...]:
    return tuple(map(_integer(0), value))
