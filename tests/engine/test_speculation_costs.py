import pytest

from cl_llama.engine.speculation.costs import StepCosts, allot

FEW_ARE_CHEAP = StepCosts(
    ((1, 1.0), (2, 1.15), (4, 1.2), (5, 1.85), (8, 2.1), (16, 3.3), (32, 4.9))
)
STEEP = StepCosts(((1, 1.0), (2, 1.13), (4, 1.75), (8, 3.05), (16, 4.4), (32, 7.1)))
FLAT = StepCosts(((1, 1.0), (2, 1.0)))
LINE = StepCosts(((1, 1.0), (3, 1.4), (5, 2.4)))


@pytest.mark.parametrize(
    ("tokens", "cost"), [(1, 1.0), (2, 1.2), (3, 1.4), (4, 1.9), (5, 2.4), (9, 4.4)]
)
def test_costs_lie_on_lines(tokens: int, cost: float):
    assert LINE.of(tokens) == pytest.approx(cost)


def guesses(
    rates: list[float], most: int = 15, costs: StepCosts = FEW_ARE_CHEAP, **given
) -> list[int]:
    count = len(rates)
    settings = {"slices": count, "tokens": count, "room": 128} | given
    return allot(rates, [most] * count, costs=costs, **settings)


def test_sure_guesses_are_taken_as_far_as_they_go():
    assert guesses([1.0]) == [15]
    assert guesses([1.0], most=2) == [2]
    assert guesses([0.3, 0.2], costs=FLAT) == [15, 15]
    assert guesses([0.3, 0.2], costs=FLAT, room=3) == [2, 1]


def test_a_guess_must_be_worth_its_cost():
    assert guesses([0.6]) == [3]  # four rows cost little more than one
    assert guesses([0.6], costs=STEEP) == [1]
    assert guesses([0.05]) == [0]
    assert guesses([0.0]) == [0]
    assert guesses([0.6], costs=STEEP, guess_cost=0.5) == [0]
    assert guesses([0.9], guess_cost=0.3) == [3]


def test_sequences_that_share_a_step_guess_less():
    assert guesses([0.5]) == [3]
    assert guesses([0.5] * 2) == [1, 1]
    assert guesses([0.5] * 8) == [0] * 8
    assert guesses([0.2, 0.9, 0.2], costs=FEW_ARE_CHEAP) == [0, 1, 0]


def test_beside_a_prompt_guesses_are_cheap():
    assert guesses([0.5], costs=STEEP, slices=2, tokens=256) == [6]


def test_no_room():
    assert guesses([1.0], room=0) == [0]
    assert guesses([]) == []
