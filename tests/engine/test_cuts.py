"""Cuts and temperatures against their definitions."""

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling import Sampler, sampler
from cl_llama.engine.sampling.random_numbers import DRAW, XTC_COIN, uniform
from tests.engine.sampling_reference import distribution

V = 30
DRAWS = 1000
ROWS = np.random.default_rng(7).normal(0, 2, (2, V)).astype(np.float32)
XTC = {"xtc_probability": 0.5}

SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 1},
    {"top_k": 5},
    {"top_p": 0.8},
    {"top_p": 0.0},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"top_k": 8, "top_p": 0.7},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.9, "min_p": 0.1},
    {"typical_p": 0.6},
    {"typical_p": 0.0},
    {"typical_p": 0.2, "min_p": 0.5},
    {"typical_p": 0.7, "top_p": 0.6, "temperature": 1.3},
    {"top_n_sigma": 1.0},
    {"top_n_sigma": 0.3, "temperature": 3.0, "top_p": 0.9},
    {"top_n_sigma": 50.0, "top_k": 3},
    {"dynatemp_range": 0.8},
    {"dynatemp_range": 0.5, "dynatemp_exponent": 2.5, "top_k": 7},
    {"dynatemp_range": 3.0, "temperature": 1.0, "dynatemp_exponent": 0.3},
    {"xtc_threshold": 0.05, **XTC},
    {"xtc_threshold": 0.0, **XTC},
    {"xtc_threshold": 0.9, **XTC},
    {"xtc_threshold": 0.1, "top_p": 0.7, "typical_p": 0.9, **XTC},
    {"top_n_sigma": 1.5, "top_k": 12, "dynatemp_range": 0.5, "typical_p": 0.9, "top_p": 0.9,
     "min_p": 0.05, "xtc_threshold": 0.1, **XTC},
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(ROWS)))
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_draws_follow_the_distribution(monkeypatch, settings: dict[str, float], row: int):
    params = SamplingParams(**settings)
    numbers = {}
    monkeypatch.setattr(sampler, "uniform", lambda seed, step, use: numbers[use])
    for coin in (0.6, 0.4) if params.xtc_probability else (0.6,):
        expected = np.array(distribution(ROWS[row], params, xtc=coin < 0.5))
        # Evenly spaced instead of random numbers: counts are exact but for one at each boundary.
        numbers[XTC_COIN] = coin
        one = Sampler(params, [0], V)
        counts = np.zeros(V)
        for number in (np.arange(DRAWS) + 0.5) / DRAWS:
            numbers[DRAW] = number
            choice = one.choose_from_row(ROWS[row])
            counts[choice.token_id] += 1
            assert choice.probability == pytest.approx(expected[choice.token_id])
        np.testing.assert_allclose(counts / DRAWS, expected, atol=2 / DRAWS)


def test_cuts_see_only_what_a_mask_leaves(monkeypatch):
    monkeypatch.setattr(sampler, "uniform", lambda seed, step, use: 0.5)
    allowed = np.arange(V) % 3 == 1
    for settings in SETTINGS:
        params = SamplingParams(**(settings | {"xtc_probability": 0.0}))
        masked = Sampler(params, [0], V, lambda generated: allowed).choose_from_row(ROWS[0])
        alone = Sampler(params, [0], V // 3).choose_from_row(ROWS[0][allowed])
        assert masked.token_id == 3 * alone.token_id + 1
        assert masked.probability == alone.probability


# Without top-k, the dynamic temperature sees entropy as a share of that of all tokens.
@pytest.mark.parametrize(
    "settings", [s for s in SETTINGS if "top_k" in s or "dynatemp_range" not in s], ids=str
)
def test_impossible_tokens_change_nothing(monkeypatch, settings: dict[str, float]):
    """Logits of minus infinity, as a model may have for rows that are no tokens."""
    monkeypatch.setattr(sampler, "uniform", lambda seed, step, use: 0.45)
    params = SamplingParams(**settings)
    longer = np.concatenate([ROWS[0], np.full(9, -np.inf, np.float32)])
    padded = Sampler(params, [0], V + 9).choose_from_row(longer)
    plain = Sampler(params, [0], V).choose_from_row(ROWS[0])
    assert padded.token_id == plain.token_id
    assert padded.probability == pytest.approx(plain.probability)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.7e308, "dynatemp_range": 1.7e308},
        {"dynatemp_range": 1.0, "dynatemp_exponent": 1e308},
        {"top_n_sigma": 1e308},
        {"dry_multiplier": 1e308, "dry_base": 1e308},
    ],
    ids=str,
)
def test_extreme_settings_still_choose(settings: dict[str, float]):
    one = Sampler(SamplingParams(seed=1, **settings), [0, 1, 0, 1, 0, 1], V)
    for row in (*ROWS, np.eye(1, V, dtype=np.float32)[0] * 1e4):
        assert 0 < one.choose_from_row(row).probability <= 1


def test_random_numbers_are_fixed_by_seed_step_and_use():
    numbers = {uniform(5, step, use) for step in range(50) for use in (DRAW, XTC_COIN)}
    assert len(numbers) == 100
    assert all(0 <= number < 1 for number in numbers)
    # A seed must give the same text in the next release too.
    assert uniform(5, 3, DRAW) == 0.05355891890692033
    assert uniform(5, 3, XTC_COIN) == 0.2886634976358673


def test_xtc_tosses_its_coin_once_a_step():
    params = SamplingParams(seed=4, xtc_probability=0.3, xtc_threshold=0.1)
    one = Sampler(params, [0], V)
    row = np.zeros(V, np.float32)
    row[[3, 7]] = 9.0, 8.0
    tokens = [one.choose_from_row(row).token_id for _ in range(1000)]
    applied = [uniform(4, step, XTC_COIN) < 0.3 for step in range(1000)]
    assert 250 < sum(applied) < 350
    assert all(token != 3 for token, cut in zip(tokens, applied, strict=True) if cut)
    assert tokens.count(3) > 400
