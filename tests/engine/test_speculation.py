"""Texts with guesses are texts without, whoever guesses what."""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.request import Request
from cl_llama.engine.scheduler import Sequence as CacheSequence
from cl_llama.engine.speculation.costs import StepCosts
from cl_llama.engine.speculation.lookup import Lookup
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import DeviceError, RequestError
from cl_llama.models.batch import Batch
from tests.paged_model import PagedModel, expected_greedy, expected_logits

CHEAP = StepCosts(((1, 1.0), (2, 1.001)))
DEAR = StepCosts(((1, 1.0), (2, 9.0)))


class Guesser:
    """Knows what texts will be, `texts` by their prompts, and tells or distorts it."""

    cost = 0.0
    first_rate = 0.9

    def __init__(self, texts: Sequence[list[int]], distort: Callable[[int, int], int]) -> None:
        """distort: makes a token at a place of the guess another one."""
        self.texts = texts
        self.distort = distort
        self.alive: set[CacheSequence] = set()
        self.restarts = 0

    def propose(
        self, sequences: Sequence[CacheSequence], lengths: Sequence[int]
    ) -> list[list[int]]:
        self.alive |= set(sequences)
        guesses = []
        for sequence, length in zip(sequences, lengths, strict=True):
            count = len(sequence.tokens)
            (text,) = {tuple(t) for t in self.texts if t[:count] == sequence.tokens} or {()}
            guess = text[count : count + length]
            guesses.append([self.distort(i, token_id) for i, token_id in enumerate(guess)])
        return guesses

    def forget(self, sequence: CacheSequence) -> None:
        self.alive.discard(sequence)

    def restart(self) -> None:
        self.restarts += 1


def greedy(count: int) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0)


DISTORTIONS: dict[str, Callable[[int, int], int]] = {
    "right": lambda place, token_id: token_id,
    "wrong": lambda place, token_id: (token_id + 1) % 40,
    "wrong from the third on": lambda place, token_id: (token_id + (place > 1)) % 40,
    "wrong in the middle": lambda place, token_id: (token_id + (place == 2)) % 40,
}


def start(
    proposer: object | None, model: PagedModel | None = None, costs: StepCosts = CHEAP, **limits
) -> Engine:
    speculator = None if proposer is None else Speculator(proposer, costs, most=5)
    defaults = {"prefill_chunk": 8, "step_tokens": 16, "max_batch": 4, "all_rows": 9}
    return Engine(model or PagedModel(), 256, speculator=speculator, **(defaults | limits))


@pytest.fixture
def run() -> Iterator[Callable[..., list[Request]]]:
    """Runs prompts to their ends; checks that nothing is lost."""

    def finish(engine: Engine, submits: Sequence[Callable[[Engine], Request]]) -> list[Request]:
        requests = [submit(engine) for submit in submits]
        for request in requests:
            request.result()
        engine.close()
        engine._scheduler.check()
        assert engine._scheduler.pool.available == engine.model.num_blocks
        stats = [request.stats for request in requests]
        totals = engine.status()
        assert totals.draft_tokens == sum(s.draft_tokens for s in stats)
        assert totals.accepted_draft_tokens == sum(s.accepted_draft_tokens for s in stats)
        assert totals.generated_tokens == sum(s.generated_tokens for s in stats)
        return requests

    yield finish


def only_even(generated: Sequence[int]) -> np.ndarray | None:
    return None if len(generated) % 3 else np.arange(40) % 2 == 0


PARAMS = [
    SamplingParams(max_new_tokens=23, temperature=0.0),
    SamplingParams(max_new_tokens=23, seed=4, top_k=5, top_p=0.9),
    SamplingParams(max_new_tokens=23, seed=5, repetition_penalty=1.3, presence_penalty=0.5),
    SamplingParams(max_new_tokens=23, temperature=0.0, frequency_penalty=0.7, logprobs=2),
    SamplingParams(max_new_tokens=23, seed=6, logprobs=1),
    SamplingParams(max_new_tokens=23, temperature=0.0, stop_token_ids=(3, 9, 17)),
    SamplingParams(max_new_tokens=23, seed=7, mirostat=2, mirostat_tau=2.0),
    SamplingParams(max_new_tokens=23, seed=8, dry_multiplier=0.8, xtc_probability=0.5),
    SamplingParams(max_new_tokens=23, seed=9, top_n_sigma=1.0, dynatemp_range=0.3, typical_p=0.9),
    SamplingParams(max_new_tokens=23, seed=10, xtc_probability=0.5, xtc_threshold=0.02),
    SamplingParams(max_new_tokens=23, seed=11, dry_multiplier=2.0, dry_allowed_length=1),
]


def submits(count: int = 18) -> list[Callable[[Engine], Request]]:
    """Requests of all kinds, each of its own prompt."""

    def submit(engine: Engine, i: int) -> Request:
        prompt = [1 + i, *(7, 8, 9) * (i % 4), 2]
        mask = only_even if i % 5 == 3 else None
        stop_when = (lambda token_id: token_id % 11 == 10) if i % 4 == 1 else None
        params = PARAMS[i % len(PARAMS)]
        return engine.submit(prompt, params, logit_mask=mask, stop_when=stop_when)

    return [lambda engine, i=i: submit(engine, i) for i in range(count)]


@pytest.fixture(scope="module")
def plain() -> list[Request]:
    """The requests without guesses."""
    engine = start(None)
    requests = [submit(engine) for submit in submits()]
    for request in requests:
        request.result()
    engine.close()
    return requests


def text_of(request: Request) -> list[int]:
    return [*request.prompt_ids, *request.result().token_ids]


@pytest.mark.parametrize("distortion", DISTORTIONS)
@pytest.mark.parametrize("num_blocks", [64, 9])
@pytest.mark.parametrize("max_batch", [1, 4])
def test_all_kinds_of_requests(run, plain, distortion: str, num_blocks: int, max_batch: int):
    model = PagedModel(num_blocks=num_blocks)
    guesser = Guesser([text_of(request) for request in plain], DISTORTIONS[distortion])
    engine = start(guesser, model, max_batch=max_batch)
    requests = run(engine, submits())
    for request, expected in zip(requests, plain, strict=True):
        assert request.result().token_ids == expected.result().token_ids
        assert request.finish_reason == expected.finish_reason
        events = zip(request.result().events, expected.result().events, strict=True)
        for event, other in events:
            assert event.logprob == pytest.approx(other.logprob, abs=1e-5)
            assert [i for i, _ in event.top_logprobs] == [i for i, _ in other.top_logprobs]
    status = engine.status()
    assert (status.preemptions > 0) == (num_blocks == 9 and max_batch == 4)
    assert status.draft_tokens > 0
    assert (status.accepted_draft_tokens > 0) == (distortion != "wrong")
    if distortion == "right" and num_blocks == 64:
        assert status.accepted_draft_tokens == status.draft_tokens
    assert not guesser.alive


def test_lookup_in_texts_that_repeat(run):
    def cycle(generated: Sequence[int]) -> np.ndarray:
        return np.arange(40) == (5, 6, 7, 8, 30)[len(generated) % 5]

    model = PagedModel()
    engine = start(Lookup(), model)
    params = SamplingParams(max_new_tokens=40, seed=1)
    (request,) = run(engine, [lambda e: e.submit([1, 2], params, logit_mask=cycle)])
    assert request.result().token_ids == [5, 6, 7, 8, 30] * 8
    assert request.stats.accepted_draft_tokens == request.stats.draft_tokens > 20
    assert len(model.batches) < 20
    assert max(len(batch.slices[0].token_ids) for batch in model.batches) == 6


def test_masks_and_stops_are_called_as_without_guesses(run):
    calls: list[tuple[str, object]] = []

    def submit(engine: Engine) -> Request:
        calls.clear()

        def mask(generated: Sequence[int]) -> None:
            calls.append(("mask", tuple(generated)))

        def stop(token_id: int) -> bool:
            calls.append(("stop", token_id))
            return len(calls) == 22

        params = SamplingParams(max_new_tokens=40, seed=9)
        return engine.submit([1, 2, 3], params, logit_mask=mask, stop_when=stop)

    (request,) = run(start(None), [submit])
    expected = list(calls)
    assert request.finish_reason == "stop"
    guesser = Guesser([text_of(request)], DISTORTIONS["wrong in the middle"])
    (request,) = run(start(guesser), [submit])
    assert calls == expected
    assert request.stats.accepted_draft_tokens > 0


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_the_limit_ends_a_text_among_guesses(run, count: int):
    text = [1, 2, *expected_greedy([1, 2], 30)]
    model = PagedModel()
    engine = start(Guesser([text], DISTORTIONS["right"]), model)
    (request,) = run(engine, [lambda e: e.submit([1, 2], greedy(count))])
    assert text_of(request) == text[: 2 + count]
    assert request.finish_reason == "length"
    assert sum(batch.token_count for batch in model.batches) == 2 + count - 1  # none for nothing


def test_accepted_guesses_are_found_in_the_cache(run):
    text = [1, 2, *expected_greedy([1, 2], 30)]
    engine = start(Guesser([text], DISTORTIONS["wrong from the third on"]))

    def after_it(engine: Engine) -> Request:
        first.result()
        return engine.submit(text, greedy(1))

    first = engine.submit([1, 2], greedy(30))
    first, request = run(engine, [lambda e: first, after_it])
    assert text_of(first) == text
    assert request.result().token_ids == expected_greedy(text, 1)
    assert request.stats.cached_tokens == 28


def test_guesses_of_one_sequence_leave_prompts_and_others_alone(run):
    """A full step, rows that are asked for and a pool without room: fewer guesses, or none."""
    texts = [[i, 2, *expected_greedy([i, 2], 25)] for i in range(4)]
    model = PagedModel()
    rows = 0

    all_there = threading.Event()

    def watch(batch: Batch) -> None:
        nonlocal rows
        assert all_there.wait(60)
        rows = max(rows, batch.logits_rows)
        assert batch.token_count <= 16

    model.before_forward = watch
    engine = start(Guesser(texts, DISTORTIONS["right"]), model)
    prompt = [(3 * i) % 40 for i in range(50)]

    def last(engine: Engine) -> Request:
        request = engine.submit(prompt, prompt_logits=True)
        all_there.set()
        return request

    wanted = [lambda e, i=i: e.submit([i, 2], greedy(25)) for i in range(3)]
    *requests, scored = run(engine, [*wanted, last])
    for text, request in zip(texts, requests, strict=False):
        assert text_of(request) == text
    np.testing.assert_array_equal(
        np.concatenate(list(scored.prompt_logits())), expected_logits(prompt)
    )
    assert 9 < rows <= 9 + 4  # all_rows, and one of each sequence


def test_guesses_that_lose_are_left_out(run):
    """Free ones are watched and come back; others are tried again now and then."""
    text = [1, 2, *expected_greedy([1, 2], 200)]
    costs = StepCosts(((1, 1.0), (2, 1.3)))

    def turning_right(place: int, token_id: int) -> int:
        return token_id if tokens > 120 else (token_id + 1) % 40

    tokens = 0
    shares = []
    for cost in (0.0, 0.01):
        model = PagedModel()

        def watch(batch: Batch) -> None:
            nonlocal tokens
            tokens = batch.slices[0].start

        model.before_forward = watch
        guesser = Guesser([text], turning_right)
        guesser.cost = cost
        (request,) = run(start(guesser, model, costs), [lambda e: e.submit([1, 2], greedy(200))])
        assert text_of(request) == text
        before = [b.token_count > 1 for b in model.batches[1:] if b.slices[0].start <= 120]
        shares.append(sum(before) / len(before))
        assert sum(b.token_count > 3 for b in model.batches[1:]) > 6
    assert shares[0] < 0.05  # the first tries
    assert shares[0] < shares[1] < 0.12


def test_guesses_are_not_run_where_steps_are_dear(run):
    text = [1, 2, *expected_greedy([1, 2], 30)]
    engine = start(Guesser([text], DISTORTIONS["right"]), costs=DEAR)
    (request,) = run(engine, [lambda e: e.submit([1, 2], greedy(30))])
    assert text_of(request) == text
    assert request.stats.draft_tokens == 0


def test_a_guesser_that_fails_fails_its_step(run):
    class Failing(Guesser):
        def propose(self, sequences, lengths):
            if not self.restarts:
                raise DeviceError("no more")
            return super().propose(sequences, lengths)

    text = [1, 2, *expected_greedy([1, 2], 9)]
    guesser = Failing([text], DISTORTIONS["right"])
    engine = start(guesser)
    with pytest.raises(DeviceError, match="no more"):
        engine.submit([1, 2], greedy(9)).result()
    assert guesser.restarts == 1
    request = engine.submit([1, 2], greedy(9))
    assert text_of(request) == text
    assert request.stats.accepted_draft_tokens > 0
    engine.close()
    assert engine._scheduler.pool.available == 64


def test_a_hook_that_fails_among_guesses_keeps_what_was_chosen():
    text = [1, 2, *expected_greedy([1, 2], 9)]
    engine = start(Guesser([text], DISTORTIONS["right"]))

    def third(generated: Sequence[int]) -> None:
        if len(generated) == 3:
            raise ValueError("no more")

    request = engine.submit([1, 2], greedy(9), logit_mask=third)
    seen = []
    with pytest.raises(RequestError, match="logit_mask raised ValueError: no more"):
        for event in request:
            seen.append(event.token_id)
    assert seen == text[2:5]
    engine.close()
    assert engine._scheduler.pool.available == 64
