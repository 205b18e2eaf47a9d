import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.sampling import Sampler, StepLogits
from cl_llama.engine.sampling.draw import draw
from cl_llama.engine.sampling.ranking import select_top
from cl_llama.errors import DeviceError, RequestError
from tests.engine.sampling_reference import distribution
from tests.paged_model import NumpyLogits

V = 30
LOGITS = np.random.default_rng(7).normal(0, 2, V).astype(np.float32)


def test_seeded_draws_follow_the_distribution():
    params = SamplingParams(seed=5)
    sampler = Sampler(params, [0], V)
    counts = np.bincount([sampler.choose_from_row(LOGITS).token_id for _ in range(4000)])
    p = np.array(distribution(LOGITS, params))
    counts = np.pad(counts, (0, V - len(counts)))
    assert (np.abs(counts / 4000 - p) <= 4 * np.sqrt(p * (1 - p) / 4000) + 1e-4).all()


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_extreme_draws_never_pick_an_impossible_token(uniform: float, top_p: float):
    logits = np.array([-np.inf, 0.1, -np.inf, 0.2, 0.3, -np.inf])
    assert draw(logits, SamplingParams(top_p=top_p), uniform)[0] in (1, 3, 4)


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 1e308])
def test_extreme_temperatures(temperature: float):
    sampler = Sampler(SamplingParams(temperature=temperature, seed=1), [0], V)
    token_id = sampler.choose_from_row(LOGITS).token_id
    assert temperature > 1 or token_id == LOGITS.argmax()


@pytest.mark.parametrize("top_k", [0, 1, 2, 64, 65])
@pytest.mark.parametrize("vocab_size", [1, 2, 64, 65, 66])
def test_small_vocabularies(top_k: int, vocab_size: int):
    logits = NumpyLogits(LOGITS.repeat(3)[None, :vocab_size], [])
    sampler = Sampler(SamplingParams(top_k=top_k, seed=1, logprobs=3), [0], vocab_size)
    choice = StepLogits(logits, [sampler]).choose(0, sampler)
    assert choice.token_id < vocab_size
    assert len(choice.top_logprobs) == min(3, vocab_size)


def test_ties_go_to_the_lowest_id():
    row = np.array([1, 5, 3, 5, 5, 3], dtype=np.float32)
    for k in range(7):
        values, ids = select_top(row, k)
        assert ids.tolist() == [1, 3, 4, 2, 5, 0][:k]
        assert values.tolist() == row[ids].tolist()
    sampler = Sampler(SamplingParams(temperature=0, repetition_penalty=1.1), [0], 6)
    assert sampler.choose_from_row(row).token_id == 1


def test_penalties_are_the_plain_formulas():
    params = SamplingParams(
        temperature=0, repetition_penalty=1.7, presence_penalty=0.9, frequency_penalty=0.4,
        logit_bias={3: 1.5, 20: -0.5},
    )  # fmt: skip
    prompt, generated = [4, 4, 9, 11], []
    sampler = Sampler(params, prompt, V)
    for _ in range(25):
        logits = LOGITS.astype(np.float64)
        for i in set(prompt) | set(generated):
            logits[i] = logits[i] / 1.7 if logits[i] > 0 else logits[i] * 1.7
        for i in generated:
            logits[i] -= 0.4
        for i in set(generated):
            logits[i] -= 0.9
        logits[3] += 1.5
        logits[20] -= 0.5
        assert sampler.choose_from_row(LOGITS).token_id == logits.argmax()
        generated.append(int(logits.argmax()))
    assert len(set(generated)) > 3


def test_a_seed_and_a_step_fix_the_draw():
    def text(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingParams(seed=seed), [0], V)
        return [sampler.choose_from_row(LOGITS).token_id for _ in range(20)]

    assert text(11) == text(11)
    assert text(11) != text(12)
    assert text(-1) == text(2**64 - 1)
    assert text(None) != text(None)
    # A seed must give the same text in the next release too.
    sampler = Sampler(SamplingParams(seed=11), [0], V)
    even = np.zeros(V, dtype=np.float32)
    assert [sampler.choose_from_row(even).token_id for _ in range(8)] == [
        3,
        17,
        0,
        3,
        13,
        5,
        26,
        15,
    ]


PATHS = [
    ({"temperature": 0.0}, ["argmax"]),
    ({"temperature": 0.0, "logprobs": 0}, ["top_k", "logsumexp"]),
    ({"temperature": 0.0, "logprobs": 5}, ["top_k", "logsumexp"]),
    ({"temperature": 0.0, "logprobs": 65}, ["numpy"]),
    ({"top_k": 1}, ["argmax"]),
    ({"top_k": 40}, ["top_k"]),
    ({"top_k": 64, "top_p": 0.9, "min_p": 0.05}, ["top_k"]),
    ({"top_k": 5, "logprobs": 10}, ["top_k", "logsumexp"]),
    ({"top_k": 50, "typical_p": 0.7, "dynatemp_range": 0.5}, ["top_k"]),
    ({"top_k": 50, "xtc_probability": 0.5, "xtc_threshold": 0.02}, ["top_k"]),
    ({"temperature": 0.0, "mirostat": 2, "top_n_sigma": 1.0}, ["argmax"]),
    ({"top_k": 5, "mirostat": 2}, ["numpy"]),
    ({"top_k": 5, "top_n_sigma": 1.0}, ["numpy"]),
    ({"temperature": 0.0, "dry_multiplier": 0.8}, ["numpy"]),
    ({"temperature": 0.0, "dry_multiplier": 0.8, "dry_penalty_last_n": 0}, ["argmax"]),
    ({"top_k": 65}, ["numpy"]),
    ({"top_p": 0.9}, ["numpy"]),
    ({"temperature": 0.0, "presence_penalty": 0.1}, ["numpy"]),
    ({"top_k": 5, "logit_bias": {3: 1.0}}, ["numpy"]),
]


@pytest.mark.parametrize(("settings", "used"), PATHS, ids=[str(s) for s, _ in PATHS])
def test_the_cheapest_way_gives_the_same_choice(settings: dict[str, float], used: list[str]):
    vocab_size = 300
    random = np.random.default_rng(3)
    rows = (random.normal(0, 2, (2, vocab_size)) * 2).round(1) / 2  # with ties
    params = SamplingParams(**settings, seed=9)
    calls: list[str] = []
    logits = NumpyLogits(rows.astype(np.float32), calls)
    for row in range(2):
        cheap, plain = Sampler(params, [0], vocab_size), Sampler(params, [0], vocab_size)
        for _ in range(30):
            calls.clear()
            a = StepLogits(logits, [cheap]).choose(row, cheap)
            assert calls == used
            b = StepLogits(logits, [plain], whole=True).choose(row, plain)
            assert a.token_id == b.token_id
            assert a.probability == pytest.approx(b.probability)
            assert 0 < a.probability <= 1
            assert a.probability == 1 or params.temperature > 0
            assert [i for i, _ in a.top_logprobs] == [i for i, _ in b.top_logprobs]
            if params.logprobs is None:
                assert a.logprob is b.logprob is None
            else:
                assert a.logprob == pytest.approx(b.logprob, abs=1e-5)
                np.testing.assert_allclose(
                    [p for _, p in a.top_logprobs], [p for _, p in b.top_logprobs], atol=1e-5
                )


def test_one_step_serves_requests_of_all_kinds():
    calls: list[str] = []
    logits = NumpyLogits(np.stack([LOGITS, LOGITS[::-1]]), calls)
    greedy = Sampler(SamplingParams(temperature=0), [0], V)
    top = Sampler(SamplingParams(top_k=3, seed=1), [0], V)
    step = StepLogits(logits, [greedy, top])
    assert calls == ["top_k"]
    assert step.choose(0, greedy).token_id == LOGITS.argmax()
    assert step.choose(1, top).token_id in select_top(LOGITS[::-1], 3)[1]


def test_logprobs_are_the_models_own():
    params = SamplingParams(temperature=0.3, top_k=2, logit_bias={5: 40.0}, logprobs=4, seed=2)
    choice = Sampler(params, [0], V).choose_from_row(LOGITS)
    p = np.array(distribution(LOGITS, SamplingParams()))
    assert choice.token_id == 5
    assert choice.logprob == pytest.approx(np.log(p[5]))
    assert [i for i, _ in choice.top_logprobs] == np.argsort(-p)[:4].tolist()
    assert [q for _, q in choice.top_logprobs] == pytest.approx(np.log(np.sort(p)[::-1][:4]))


def test_the_mask_sees_the_generated_ids_and_rules():
    seen = []

    def only_even_then_any(generated):
        seen.append(tuple(generated))
        return None if len(generated) > 1 else np.arange(V) % 2 == 0

    sampler = Sampler(SamplingParams(temperature=0), [0], V, only_even_then_any)
    tokens = [sampler.choose_from_row(LOGITS).token_id for _ in range(3)]
    even = int(np.where(np.arange(V) % 2 == 0, LOGITS, -np.inf).argmax())
    assert tokens == [even, even, int(LOGITS.argmax())]
    assert seen == [(), (even,), (even, even)]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.zeros(V, dtype=bool), "allows no token"),
        (np.ones(V + 1, dtype=bool), r"bool \[30\], got bool \[31\]"),
        (np.ones(V), "got float64"),
        (3, "got int64"),
    ],
)
def test_a_useless_mask_is_an_error(returned: object, message: str):
    sampler = Sampler(SamplingParams(), [0], V, lambda generated: returned)
    with pytest.raises(RequestError, match=message):
        sampler.choose_from_row(LOGITS)


def test_a_mask_that_raises_is_an_error():
    sampler = Sampler(SamplingParams(), [0], V, lambda generated: 1 // 0)
    with pytest.raises(RequestError, match="logit_mask raised ZeroDivisionError"):
        sampler.choose_from_row(LOGITS)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0, "logprobs": 1}, {"top_k": 4}])
def test_broken_logits_are_an_error_and_no_token(bad: float, settings: dict[str, float]):
    row = LOGITS.copy()
    row[3] = bad
    sampler = Sampler(SamplingParams(**settings), [0], V)
    with np.errstate(invalid="ignore"), pytest.raises(DeviceError, match="NaN or infinity"):
        if sampler.needs is None:
            sampler.choose_from_row(row)
        else:
            sampler.choose_from_top(row[[3, 1, 2, 4]], np.array([3, 1, 2, 4]), 0.0)
