import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling import Sampler
from cl_llama.engine.sampling.dry import Dry, suffix_matches
from tests.engine.sampling_reference import dry_penalties

RANDOM = np.random.default_rng(5)


class TokenBreakers:
    """Some tokens are breakers."""

    def __init__(self, ids: set[int]) -> None:
        self._ids = ids

    def read(self, token_id: int) -> bool:
        return token_id in self._ids

    holds = read


@pytest.mark.parametrize("breaks", [set(), {0}, {1, 2}])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dry_allowed_length": 1, "dry_base": 1.0},
        {"dry_allowed_length": 4, "dry_multiplier": 3.0},
        {"dry_penalty_last_n": 9},
        {"dry_penalty_last_n": 1},
    ],
    ids=str,
)
def test_it_is_the_definition(settings: dict, breaks: set[int]):
    params = SamplingParams(**({"dry_multiplier": 0.8} | settings))
    for alphabet in (1, 2, 3, 6):
        tokens = RANDOM.integers(0, alphabet, 60).tolist()
        for prompt in (1, 25):
            dry = Dry(params, tokens[:prompt], TokenBreakers(breaks))
            for count in range(prompt, len(tokens) + 1):
                logits = np.zeros(7)
                dry.apply(logits)
                expected = np.zeros(7)
                for token, loss in dry_penalties(tokens[:count], params, frozenset(breaks)).items():
                    expected[token] = -loss
                np.testing.assert_allclose(logits, expected, rtol=1e-12)
                if count < len(tokens):
                    dry.record(tokens[count])


def test_matches_of_a_long_periodic_prompt_take_linear_time():
    tokens = [1, 2, 3] * 20_000
    matches = suffix_matches(tokens)
    assert matches[-4] == len(tokens) - 3
    assert matches[-2] == matches[-3] == matches[-1] == 0


def test_a_very_long_repetition_leaves_a_token_to_take():
    params = SamplingParams(dry_multiplier=5.0, temperature=0.0)
    only_2 = np.arange(4) == 2
    one = Sampler(params, [2] * 5000, 4, lambda generated: only_2)
    assert one.choose_from_row(np.ones(4, np.float32)).token_id == 2
    free = Sampler(params, [2] * 5000, 4)
    assert free.choose_from_row(np.array([0, 1, 50, 2], np.float32)).token_id == 3


def test_greedy_text_stops_going_round():
    row = np.array([3.0, 2.0, 1.0, 0.0], np.float32)
    plain = Sampler(SamplingParams(temperature=0.0), [0], 4)
    assert {plain.choose_from_row(row).token_id for _ in range(20)} == {0}
    params = SamplingParams(temperature=0.0, dry_multiplier=0.8)
    dry, tokens = Sampler(params, [0], 4), [0]
    for _ in range(30):
        losses = dry_penalties(tokens, params)
        tokens.append(max(range(4), key=lambda i: (row[i] - losses.get(i, 0.0), -i)))
        assert dry.choose_from_row(row).token_id == tokens[-1]
    assert len(set(tokens)) == 4
