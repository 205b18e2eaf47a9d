"""Runs the cases of a bench in turn, with the device's limits measured in between.

The speed of a machine drifts, so every repetition of a case has measurements of the limits beside
it, and repetitions of different cases alternate. Each is held against the best of its own limits.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cl_llama.bench.costs import ModelCosts, StepCost
from cl_llama.bench.roofs import Roofs, Sample, best
from cl_llama.bench.timing import EXTRA_TOKENS, decode_seconds, prefill_seconds
from cl_llama.models.batch import Model

_SAMPLE_SECONDS = 0.5
"""The limits are measured about so often during a case."""


@dataclass(frozen=True)
class Case:
    """A prompt's pass ("pp") or the decoding of some tokens ("tg"), after `depth` tokens."""

    kind: Literal["pp", "tg"]
    tokens: int
    batch: int
    """Sequences decoded together."""
    depth: int

    @property
    def name(self) -> str:
        """As llama-bench names it: pp512, tg128."""
        return f"{self.kind}{self.tokens}"

    @property
    def positions(self) -> int:
        """Of each of its sequences."""
        return max(self.depth, 1) + self.tokens + (EXTRA_TOKENS if self.kind == "tg" else 0)

    def cost(self, costs: ModelCosts) -> StepCost:
        """Of a prompt's pass, or of a step in the middle of the tokens."""
        if self.kind == "pp":
            return costs.prefill(self.tokens, self.depth)
        return costs.decode(self.batch, self.depth + self.tokens / 2)

    @property
    def tokens_per_step(self) -> int:
        """That `cost` is for."""
        return self.tokens if self.kind == "pp" else self.batch


def plan(
    prompts: Sequence[int], generated: Sequence[int], depths: Sequence[int], batches: Sequence[int]
) -> list[Case]:
    """All cases: prompts of one sequence and tokens of every batch, at every depth."""
    cases: list[Case] = []
    for depth in depths:
        cases += [Case("pp", tokens, 1, depth) for tokens in prompts]
        cases += [Case("tg", tokens, batch, depth) for tokens in generated for batch in batches]
    return cases


def cache_positions(cases: Sequence[Case], block_size: int) -> int:
    """What a cache must hold for the largest of the cases, in whole blocks a sequence."""
    return max(-(-c.positions // block_size) * block_size * c.batch for c in cases)


@dataclass(frozen=True)
class Repetition:
    """Of a case: tokens a second, and the limits measured before, between and after its steps."""

    tokens_per_s: float
    samples: Sequence[Sample]


@dataclass
class Measured:
    """A case's repetitions."""

    case: Case
    repetitions: list[Repetition] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Tokens a second of each repetition."""
        return [repetition.tokens_per_s for repetition in self.repetitions]

    @property
    def median(self) -> float:
        """Tokens a second."""
        return statistics.median(self.rates)

    @property
    def limits(self) -> Sample:
        """The best measured beside the case."""
        return best([sample for repetition in self.repetitions for sample in repetition.samples])

    def roof(self, costs: ModelCosts) -> float:
        """Tokens a second that the limits allow: the median of the repetitions."""
        return statistics.median(self._roofs(costs))

    def share(self, costs: ModelCosts) -> float:
        """Of its roof that a repetition reaches: their median."""
        roofs = self._roofs(costs)
        return statistics.median(rate / roof for rate, roof in zip(self.rates, roofs, strict=True))

    def bound_by(self, costs: ModelCosts) -> str:
        """The limit that the roof is made of: "bandwidth" or "fma"."""
        limits = self.limits
        return self.case.cost(costs).bound_by(limits.bytes_per_s, limits.flops_per_s)

    def _roofs(self, costs: ModelCosts) -> list[float]:
        cost, tokens = self.case.cost(costs), self.case.tokens_per_step
        limits = [best(repetition.samples) for repetition in self.repetitions]
        return [tokens / cost.seconds(each.bytes_per_s, each.flops_per_s) for each in limits]


def measure(
    model: Model,
    cases: Sequence[Case],
    roofs: Roofs,
    repetitions: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Every case once for the kernels' sake, then `repetitions` times in turn.

    `on_step` is called with the case's name before each.

    Raises:
        DeviceError: the device failed.
    """
    results = [Measured(case) for case in cases]
    for result in results:
        on_step(f"{result.case.name}, warming up")
        _seconds(model, result.case, lambda: None, tokens=min(result.case.tokens, 2))
    for _ in range(repetitions):
        for result in results:
            on_step(result.case.name)
            result.repetitions.append(_repeat(model, result.case, roofs))
    return results


def _repeat(model: Model, case: Case, roofs: Roofs) -> Repetition:
    samples: list[Sample] = []
    sampled_at = 0.0

    def sample() -> None:
        nonlocal sampled_at
        if time.perf_counter() - sampled_at > _SAMPLE_SECONDS:
            samples.append(roofs.measure())
            sampled_at = time.perf_counter()

    sample()
    seconds = _seconds(model, case, sample, case.tokens)
    samples.append(roofs.measure())
    return Repetition(case.batch * case.tokens / seconds, samples)


def _seconds(model: Model, case: Case, between: Callable[[], None], tokens: int) -> float:
    """Of a prompt's pass, or of decoding `tokens` tokens."""
    if case.kind == "pp":
        return prefill_seconds(model, case.tokens, case.depth)
    return sum(decode_seconds(model, case.batch, case.depth, tokens, between))
