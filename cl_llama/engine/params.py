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

    Logits pass in this order: repetition, presence and frequency penalty, DRY, logit bias, the
    request's mask; then the largest one wins if `temperature` is 0. Otherwise they are cut by
    top-n-sigma and top-k, divided by the temperature, cut by typical-p, top-p, min-p and XTC, and
    one token is drawn. Mirostat takes the place of all these cuts.
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
    typical_p: float = 1.0
    """Keep tokens about as surprising as the model expects, until they reach this sum; 1: all."""
    top_n_sigma: float = 0.0
    """Keep tokens whose logits are at most so many standard deviations below the largest; 0: all.

    The deviation is that of all tokens' logits.
    """
    xtc_probability: float = 0.0
    """How often to leave out all of the likely tokens but the least likely of them; 0: never."""
    xtc_threshold: float = 0.1
    """The probability from which a token is a likely one; above 0.5 no two can be."""
    dynatemp_range: float = 0.0
    """The temperature goes up and down by this much, with the entropy of the tokens; 0: fixed."""
    dynatemp_exponent: float = 1.0
    """Entropy, as a share of the highest possible, to this power moves the temperature."""
    mirostat: int = 0
    """2: cut so that the text keeps a level of surprise, in place of all other cuts; 0: off."""
    mirostat_tau: float = 5.0
    """The surprise to keep, in bits."""
    mirostat_eta: float = 0.1
    """How much of a difference to that level one token makes up for."""
    repetition_penalty: float = 1.0
    """Divides positive, multiplies negative logits of tokens in the prompt or the text so far."""
    presence_penalty: float = 0.0
    """Subtracted once from the logits of tokens generated before."""
    frequency_penalty: float = 0.0
    """Subtracted from the logits of tokens generated before, once per occurrence."""
    dry_multiplier: float = 0.0
    """How strongly DRY makes tokens less likely that would go on with a repetition; 0: not at all.

    A token that follows a repetition of n tokens, in the prompt or the text, loses
    `dry_multiplier * dry_base ** (n - dry_allowed_length)` of its logit.
    """
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    """Repetitions of fewer tokens are free."""
    dry_penalty_last_n: int = -1
    """Only repetitions within so many last tokens count; -1: all; 0: none."""
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """Texts that repetitions do not reach over; models without a tokenizer have none."""
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
    logits: bool = False
    """Hand over the model's own logits in each token's place. They stay in memory as long as the
    request: 4 bytes for each token of the vocabulary and each token of the text."""

    def __post_init__(self) -> None:
        """Check every field and bring it to its plain type."""
        self._convert("max_new_tokens", _optional(_integer(0)), "an int of at least 0, or None")
        self._convert("temperature", _number(0.0), "a finite number of at least 0")
        self._convert("top_k", _integer(0), "an int of at least 0 (0: off)")
        self._convert("top_p", _number(0.0, 1.0), "a number between 0 and 1 (1: off)")
        self._convert("min_p", _number(0.0, 1.0), "a number between 0 and 1 (0: off)")
        self._convert("typical_p", _number(0.0, 1.0), "a number between 0 and 1 (1: off)")
        self._convert("top_n_sigma", _number(0.0), "a finite number of at least 0 (0: off)")
        self._convert("xtc_probability", _number(0.0, 1.0), "a number between 0 and 1 (0: off)")
        self._convert("xtc_threshold", _number(0.0, 1.0), "a number between 0 and 1")
        self._convert("dynatemp_range", _number(0.0), "a finite number of at least 0 (0: off)")
        self._convert("dynatemp_exponent", _number(0.0), "a finite number of at least 0")
        self._convert("mirostat", _one_of(0, 2), "0 (off) or 2")
        self._convert("mirostat_tau", _number(0.0), "a finite number of at least 0")
        self._convert("mirostat_eta", _number(0.0), "a finite number of at least 0")
        self._convert("repetition_penalty", _number(0.01, 100.0), "a number between 0.01 and 100")
        self._convert("presence_penalty", _number(-2.0, 2.0), "a number between -2 and 2 (0: off)")
        self._convert("frequency_penalty", _number(-2.0, 2.0), "a number between -2 and 2 (0: off)")
        self._convert("dry_multiplier", _number(0.0), "a finite number of at least 0 (0: off)")
        self._convert("dry_base", _number(1.0), "a finite number of at least 1")
        self._convert("dry_allowed_length", _integer(1), "an int of at least 1")
        self._convert("dry_penalty_last_n", _integer(-1), "an int of at least -1 (-1: all)")
        self._convert("dry_sequence_breakers", _strings, "a string or several, none of them empty")
        self._convert("logit_bias", _biases, "a mapping of token ids to finite numbers")
        self._convert("seed", _optional(_integer(-(2**63), 2**64 - 1)), "a 64-bit int, or None")
        self._convert("stop", _strings, "a string or several, none of them empty")
        self._convert("stop_token_ids", _optional(_token_ids), "token ids (ints from 0), or None")
        self._convert("logprobs", _optional(_integer(0)), "an int of at least 0, or None")
        self._convert("logits", _boolean, "True or False")

    def _convert(self, name: str, convert: Callable[[Any], object], allowed: str) -> None:
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, convert(value))
        except (TypeError, ValueError, OverflowError):
            raise RequestError(f"SamplingParams: {name} must be {allowed}, got {value!r}") from None

    @property
    def penalises(self) -> bool:
        """Whether the repetition, presence or frequency penalty is on."""
        return (
            self.repetition_penalty != 1.0
            or self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
        )

    @property
    def penalises_repeats(self) -> bool:
        """Whether DRY is on."""
        return self.dry_multiplier != 0.0 and self.dry_penalty_last_n != 0


def _integer(low: int, high: float = math.inf) -> Callable[[SupportsIndex], int]:
    def convert(value: SupportsIndex) -> int:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return convert


def _one_of(*values: int) -> Callable[[SupportsIndex], int]:
    def convert(value: SupportsIndex) -> int:
        number = _integer(min(values))(value)
        if number not in values:
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


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


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
