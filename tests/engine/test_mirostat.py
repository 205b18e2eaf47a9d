import math
from itertools import accumulate

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling import Sampler
from cl_llama.engine.sampling.random_numbers import DRAW, uniform
from tests.engine.sampling_reference import normalised, softmax

V = 200
RANDOM = np.random.default_rng(2)


def expected(
    rows, tau: float, eta: float, temperature: float, seed: int
) -> list[tuple[int, float]]:
    """Algorithm 2 of the paper, token by token."""
    chosen, bound = [], 2 * tau
    for step, row in enumerate(rows):
        p = softmax(dict(enumerate(map(float, row))), temperature)
        best = max(p, key=lambda i: (p[i], -i))
        left = normalised({i: x for i, x in p.items() if -math.log2(x) <= bound or i == best})
        number, sums = uniform(seed, step, DRAW), accumulate(left.values())
        token = next(i for i, total in zip(left, sums, strict=True) if number < total)
        chosen.append((token, left[token]))
        bound -= eta * (-math.log2(left[token]) - tau)
    return chosen


@pytest.mark.parametrize(
    ("tau", "eta", "temperature"),
    [(5.0, 0.1, 1.0), (1.0, 0.5, 1.0), (3.0, 0.0, 0.7), (0.0, 1.0, 2.0), (9.0, 2.0, 1.0)],
)
def test_it_is_the_papers_algorithm(tau: float, eta: float, temperature: float):
    rows = RANDOM.normal(0, 3, (40, V)).astype(np.float32)
    params = SamplingParams(
        mirostat=2, mirostat_tau=tau, mirostat_eta=eta, temperature=temperature, seed=8, top_k=1
    )
    one = Sampler(params, [0], V)
    choices = [one.choose_from_row(row) for row in rows]
    reference = expected(rows, tau, eta, temperature, 8)
    assert [choice.token_id for choice in choices] == [token for token, _ in reference]
    assert [choice.probability for choice in choices] == pytest.approx([p for _, p in reference])


def test_the_text_keeps_its_surprise():
    rows = RANDOM.normal(0, 1.5, (400, V)).astype(np.float32)
    for tau in (2.0, 4.0):
        one = Sampler(SamplingParams(mirostat=2, mirostat_tau=tau, seed=1), [0], V)
        surprise = [-math.log2(one.choose_from_row(row).probability) for row in rows]
        assert np.mean(surprise[100:]) == pytest.approx(tau, abs=0.3)


@pytest.mark.parametrize(("tau", "eta"), [(0.0, 1e300), (1e308, 1.0), (3.0, 1e5), (10.0, 1e308)])
def test_extreme_settings_still_choose(tau: float, eta: float):
    one = Sampler(SamplingParams(mirostat=2, mirostat_tau=tau, mirostat_eta=eta, seed=1), [0], V)
    for row in RANDOM.normal(0, 1, (20, V)).astype(np.float32):
        assert 0 < one.choose_from_row(row).probability <= 1
