"""What a step costs by its tokens, and how many guesses are worth their cost."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class StepCosts:
    """The time of a step by its tokens, in steps of one token: straight lines between points."""

    points: tuple[tuple[int, float], ...]
    """(tokens, cost), at least two, both ascending; the last line goes on."""

    def of(self, tokens: int) -> float:
        """The cost of a step of so many tokens."""
        index = 1
        while index < len(self.points) - 1 and self.points[index][0] < tokens:
            index += 1
        (low, low_cost), (high, high_cost) = self.points[index - 1], self.points[index]
        return low_cost + (tokens - low) * (high_cost - low_cost) / (high - low)


CPU_F16 = StepCosts(((1, 1.0), (2, 1.2), (4, 1.25), (5, 1.8), (8, 1.85), (16, 2.75), (32, 4.8)))
"""1.1 B parameters in f16 on Intel's CPU runtime (2 cores, AVX-512): up to four rows wait for the
weights, more for their products."""
CPU_BLOCKS = StepCosts(((1, 1.0), (2, 1.13), (4, 1.75), (8, 3.05), (16, 4.4), (32, 7.1)))
"""The same in Q4_0: fewer bytes to wait for."""
GPU = StepCosts(((1, 1.0), (8, 1.6), (9, 3.0), (32, 3.5)))
"""As the kernels are made: up to eight rows stream past the weights, more meet them in tiles. Not
measured."""


_LEAST_GAIN = 1.03
"""By which guesses must speed a step up: rates and costs are estimates."""


def allot(
    rates: Sequence[float],
    most: Sequence[int],
    *,
    slices: int,
    tokens: int,
    room: int,
    costs: StepCosts,
    guess_cost: float = 0.0,
) -> list[int]:
    """How many guesses each of some sequences should run: those that make the step worth most.

    A step yields a token for each of its slices, and for a guess as many as it is likely to be
    right, which all guesses before it must be, too. What it yields for its cost is made largest;
    the more sequences share a step, the less the guesses are worth.

    Args:
        rates: each sequence's share of right guesses.
        most: the guesses that each can have.
        slices: sequences in the step, those without guesses included.
        tokens: that the step runs anyway.
        room: guesses that it can take.
        costs: of the step.
        guess_cost: of guessing a token, in steps of one token.
    """
    best = [0] * len(rates)
    if not any(most):
        return best
    taken = list(best)
    rounds: list[int] = []  # sequences that guess a first, second... token
    drafting, gain = 0.0, float(slices)
    best_worth = _LEAST_GAIN * gain / costs.of(tokens)
    waiting = [(-rate, i) for i, rate in enumerate(rates) if most[i] > 0]
    heapq.heapify(waiting)
    for count in range(1, room + 1):
        if not waiting:
            break
        chance, i = heapq.heappop(waiting)
        gain -= chance
        if guess_cost:
            if taken[i] == len(rounds):
                rounds.append(0)
            rounds[taken[i]] += 1
            alike = rounds[taken[i]]
            drafting += costs.of(alike) - (costs.of(alike - 1) if alike > 1 else 0.0)
        taken[i] += 1
        if taken[i] < most[i]:
            heapq.heappush(waiting, (chance * rates[i], i))
        worth = gain / (costs.of(tokens + count) + guess_cost * drafting)
        if worth > best_worth:
            best, best_worth = list(taken), worth
    return best
