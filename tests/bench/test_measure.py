"""Which cases a bench runs, in which order, and what becomes of their times."""

import pytest

from cl_llama.bench import measure as module
from cl_llama.bench.costs import ModelCosts
from cl_llama.bench.measure import Case, Measured, Repetition, cache_positions, measure, plan
from cl_llama.bench.roofs import Sample
from cl_llama.bench.shapes import SHAPES

STEP_BYTES = 2 * (22 * (2048 * (2048 * 2 + 512) + 3 * 2048 * 5632) + 32000 * 2048)
COSTS = ModelCosts(SHAPES["1b"].config(), STEP_BYTES)


class SteadyRoofs:
    """Limits that never change."""

    def __init__(self) -> None:
        self.measured = 0

    def measure(self) -> Sample:
        self.measured += 1
        return Sample(20e9 + self.measured, 300e9)


def test_every_combination_is_a_case() -> None:
    cases = plan([128, 512], [16], [0, 4096], [1, 4])
    assert cases == [
        Case(kind, tokens, batch, depth)
        for depth in (0, 4096)
        for kind, tokens, batch in (("pp", 128, 1), ("pp", 512, 1), ("tg", 16, 1), ("tg", 16, 4))
    ]
    assert [case.name for case in cases[:3]] == ["pp128", "pp512", "tg16"]
    assert plan([], [], [0], [1]) == []


def test_the_cache_holds_the_largest_case() -> None:
    assert cache_positions(plan([512], [], [0], [1]), 32) == 544
    assert cache_positions(plan([512], [100], [0], [1, 8]), 32) == 8 * 128
    assert cache_positions(plan([512], [100], [4096], [1]), 32) == 4096 + 512


def test_repetitions_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def prefill(model: object, tokens: int, depth: int) -> float:
        ran.append(f"pp{tokens}")
        return tokens / 100

    def decode(model: object, batch: int, depth: int, steps: int, between) -> list[float]:
        ran.append(f"tg{steps}")
        for _ in range(steps):
            between()
        return [0.1] * steps

    monkeypatch.setattr(module, "prefill_seconds", prefill)
    monkeypatch.setattr(module, "decode_seconds", decode)
    roofs, shown = SteadyRoofs(), []
    cases = [Case("pp", 50, 1, 0), Case("tg", 8, 3, 0)]
    results = measure(None, cases, roofs, 2, shown.append)
    assert ran == ["pp50", "tg2", "pp50", "tg8", "pp50", "tg8"]
    assert len(shown) == len(ran)
    assert [result.case for result in results] == cases
    assert results[0].rates == pytest.approx([100.0] * 2)
    assert results[1].rates == pytest.approx([30.0] * 2)
    assert all(len(r.samples) >= 2 for result in results for r in result.repetitions)
    assert sum(len(r.samples) for result in results for r in result.repetitions) == roofs.measured


def test_a_repetition_is_held_against_the_best_limits_of_its_own() -> None:
    slow, fast = [Sample(5e9, 300e9), Sample(10e9, 100e9)], [Sample(20e9, 100e9)]
    rates = [(3.0, slow), (7.0, fast), (4.0, slow)]
    decode = Measured(Case("tg", 16, 1, 0), [Repetition(*rate) for rate in rates])
    assert decode.median == 4.0
    assert decode.bound_by(COSTS) == "bandwidth"
    assert decode.roof(COSTS) == pytest.approx(10e9 / STEP_BYTES, rel=2e-3)
    assert decode.share(COSTS) == pytest.approx(7.0 / (20e9 / STEP_BYTES), rel=2e-3)
    prefill = Measured(Case("pp", 512, 1, 0), [Repetition(1.0, slow)])
    assert prefill.bound_by(COSTS) == "fma"
    assert prefill.roof(COSTS) == pytest.approx(300e9 / 2 / 0.969e9, rel=0.05)
