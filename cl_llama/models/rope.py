"""Rotary position embeddings: the angle of every (position, channel pair), with context extensions.

A head's K channels form K/2 pairs. At position p, pair i is rotated by p * f_i, where f_i is
theta^(-2i/K) changed by the scaling. How channels pair up is the checkpoint's: "half" pairs i with
i + K/2 (Hugging Face), "adjacent" pairs 2i with 2i + 1 (Meta, llama2.c).

Sources: RoFormer (arXiv 2104.09864); linear scaling: position interpolation (arXiv 2306.15595);
dynamic NTK: as in Hugging Face transformers; YaRN: arXiv 2309.00071; llama3: Meta's Llama 3.1 code;
LongRoPE: arXiv 2402.13753.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pairing: TypeAlias = Literal["half", "adjacent"]


@dataclass(frozen=True)
class LinearScaling:
    """Positions are divided by `factor`."""

    factor: float


@dataclass(frozen=True)
class DynamicScaling:
    """NTK-aware scaling whose base grows with the length read so far.

    The token at position p takes the base of a sequence of max(p + 1, original_max_positions)
    tokens, so an embedding never depends on how a prompt was cut into chunks, and equals what
    transformers computes when it decodes token by token.
    """

    factor: float
    original_max_positions: int


@dataclass(frozen=True)
class YarnScaling:
    """Slow pairs are interpolated, fast ones kept, with a linear ramp between them.

    `beta_fast` and `beta_slow` are the rotations over the original context at which the ramp ends;
    `attention_factor` multiplies cos and sin; `truncate` rounds the ramp's ends to whole pairs.
    """

    factor: float
    original_max_positions: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1: wavelengths longer than original / low_freq_factor are stretched by `factor`.

    Those shorter than original / high_freq_factor are kept; between them the two are blended.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class FactorScaling:
    """The frequency of pair i is divided by `factors[i]`: a scaling that a file spells out."""

    factors: tuple[float, ...]


@dataclass(frozen=True)
class LongRopeScaling:
    """Phi-3: the frequency of every pair is divided by a factor of its own.

    Keys in the cache keep their rotation, so that one of the two lists serves all positions: the
    long one where a sequence may have more than `original_max_positions`, as `longest` says.
    `attention_factor` multiplies cos and sin.
    """

    short_factors: tuple[float, ...]
    long_factors: tuple[float, ...]
    original_max_positions: int
    attention_factor: float
    longest: int

    @property
    def factors(self) -> tuple[float, ...]:
        """Those of the two that serve."""
        is_long = self.longest > self.original_max_positions
        return self.long_factors if is_long else self.short_factors


RopeScaling: TypeAlias = (
    LinearScaling | DynamicScaling | YarnScaling | Llama3Scaling | FactorScaling | LongRopeScaling
)


@dataclass(frozen=True)
class RopeConfig:
    """Base, channel pairing and context extension (None: none) of a model's rotary embedding."""

    theta: float
    pairing: Pairing
    scaling: RopeScaling | None = None
    width: int | None = None
    """Channels of a head that rotate, the first ones; the others stay. None: all."""

    def for_length(self, positions: int) -> "RopeConfig":
        """The embedding for sequences of at most so many positions."""
        if isinstance(self.scaling, LongRopeScaling):
            return replace(self, scaling=replace(self.scaling, longest=positions))
        return self


def yarn_attention_factor(
    factor: float, mscale: float | None = None, mscale_all_dim: float | None = None
) -> float:
    """The factor on cos and sin that YaRN derives from its scaling factor.

    `mscale` and `mscale_all_dim` count only together (DeepSeek's extension).
    """

    def magnitude(weight: float) -> float:
        return 1.0 if factor <= 1.0 else 0.1 * weight * math.log(factor) + 1.0

    if mscale and mscale_all_dim:
        return magnitude(mscale) / magnitude(mscale_all_dim)
    return magnitude(1.0)


def cos_sin(
    rope: RopeConfig | None, head_dim: int, positions: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Cosine and sine of every rotation, computed in float64 and rounded once.

    positions [T] -> float32 [T, K/2, 2]: the cosine in [..., 0], the sine in [..., 1], both times
    YaRN's or LongRoPE's attention factor. K = `head_dim` is even. Pairs that stay have angle zero,
    and so have all without a rotary embedding.
    """
    table_TP2 = np.zeros((len(positions), head_dim // 2, 2))
    table_TP2[..., 0] = 1.0
    if rope is None:
        return table_TP2.astype(np.float32)
    width = rope.width or head_dim
    p_T = positions.astype(np.float64)
    angles_TP = p_T[:, None] * inverse_frequencies(rope, width, positions)
    rotating_TP2 = np.stack([np.cos(angles_TP), np.sin(angles_TP)], axis=-1)
    if isinstance(rope.scaling, YarnScaling | LongRopeScaling):
        rotating_TP2 *= rope.scaling.attention_factor
    table_TP2[:, : width // 2] = rotating_TP2
    return table_TP2.astype(np.float32)


def inverse_frequencies(
    rope: RopeConfig, head_dim: int, positions: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Radians per position of every pair: float64 [1, K/2], or [T, K/2] for dynamic scaling."""
    if isinstance(rope.scaling, DynamicScaling):
        bases_T = _dynamic_bases(rope.theta, rope.scaling, head_dim, positions)
        return np.asarray(bases_T[:, None] ** -_exponents(head_dim))
    return _fixed_frequencies(rope, head_dim)


def _exponents(head_dim: int) -> NDArray[np.float64]:
    return np.arange(0, head_dim, 2, dtype=np.float64) / head_dim


@functools.lru_cache(maxsize=8)
def _fixed_frequencies(rope: RopeConfig, head_dim: int) -> NDArray[np.float64]:
    """Those that do not depend on the position, [1, K/2], read-only."""
    frequencies_P: NDArray[np.float64] = rope.theta ** -_exponents(head_dim)
    match rope.scaling:
        case LinearScaling(factor=factor):
            frequencies_P = frequencies_P / factor
        case YarnScaling() as yarn:
            frequencies_P = _yarn(frequencies_P, rope.theta, yarn, head_dim)
        case Llama3Scaling() as llama3:
            frequencies_P = _llama3(frequencies_P, llama3)
        case FactorScaling(factors=factors) | LongRopeScaling(factors=factors):
            frequencies_P = frequencies_P / np.array(factors)
    frequencies_P.flags.writeable = False
    return frequencies_P[None, :]


def _dynamic_bases(
    theta: float, scaling: DynamicScaling, head_dim: int, positions: NDArray[np.integer]
) -> NDArray[np.float64]:
    lengths_T = np.maximum(positions.astype(np.float64) + 1, scaling.original_max_positions)
    stretch_T = scaling.factor * lengths_T / scaling.original_max_positions - (scaling.factor - 1)
    return np.asarray(theta * stretch_T ** (head_dim / (head_dim - 2)))


def _yarn(
    frequencies_P: NDArray[np.float64], theta: float, scaling: YarnScaling, head_dim: int
) -> NDArray[np.float64]:
    def pair_with(rotations: float) -> float:
        """The (fractional) pair that turns `rotations` times over the original context."""
        turns = scaling.original_max_positions / (rotations * 2 * math.pi)
        return head_dim * math.log(turns) / (2 * math.log(theta))

    low, high = pair_with(scaling.beta_fast), pair_with(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    # K - 1 although there are K/2 pairs: so do transformers and the paper's code.
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # a step instead of a division by zero
    ramp_P = np.clip((np.arange(head_dim // 2) - low) / (high - low), 0.0, 1.0)
    return np.asarray(frequencies_P * (1 - ramp_P) + frequencies_P / scaling.factor * ramp_P)


def _llama3(frequencies_P: NDArray[np.float64], scaling: Llama3Scaling) -> NDArray[np.float64]:
    turns_P = scaling.original_max_positions * frequencies_P / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    keep_P = np.clip((turns_P - scaling.low_freq_factor) / span, 0.0, 1.0)
    return np.asarray(frequencies_P * keep_P + frequencies_P / scaling.factor * (1 - keep_P))
