"""Prompts in flight that begin alike: what they share is computed once."""

import threading
from collections.abc import Callable

import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.scheduler import Sequence
from cl_llama.errors import DeviceError
from cl_llama.models.batch import Batch
from tests.engine.test_scheduler import run, scheduler, shapes
from tests.paged_model import PagedModel, expected_greedy

SYSTEM = [(7 * i) % 40 for i in range(61)]


def greedy(count: int) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0)


class Gate:
    """Stops the engine before its first forward, until all requests are there."""

    def __init__(self, then: Callable[[Batch], None] = lambda batch: None) -> None:
        self.open = threading.Event()
        self._then = then

    def __call__(self, batch: Batch) -> None:
        assert self.open.wait(30)
        self._then(batch)


def computed_tokens(model: PagedModel) -> int:
    return sum(batch.token_count for batch in model.batches)


def test_the_later_one_takes_over_what_the_older_one_computes():
    s = scheduler(prefill_chunk=8)
    first, second = Sequence([*SYSTEM[:19], 1]), Sequence([*SYSTEM[:19], 2, 3])
    s.add(first)
    s.add(second)
    assert shapes(run(s)) == [(0, 8, "none")]
    assert shapes(run(s)) == [(8, 8, "none")]
    assert second.computed == 8
    assert shapes(run(s)) == [(16, 4, "last"), (16, 5, "last")]  # the rest is its own
    assert (first.reused_tokens, second.reused_tokens) == (0, 16)


@pytest.mark.parametrize("end", ["removed", "sent back", "all sent back"])
def test_without_the_older_one_the_later_one_computes_itself(end: str):
    s = scheduler(prefill_chunk=8)
    older, later = Sequence([*SYSTEM, 1]), Sequence([*SYSTEM, 2])
    s.add(older)
    s.add(later)
    run(s)
    assert shapes(run(s)) == [(8, 8, "none")]
    if end == "removed":
        s.remove(older)
        assert shapes(run(s)) == [(16, 8, "none")]
        assert later.reused_tokens == 16
    elif end == "sent back":
        s._send_back()
        assert s.waiting[0] is later
        assert shapes(run(s)) == [(16, 8, "none")]
        assert older.computed == 24
        assert later in s.running
    else:
        s.restart()
        assert shapes(run(s)) == [(0, 8, "none")]
    for _ in range(20):
        run(s)
    assert len(later.tokens) > 62


def test_one_that_is_ahead_of_an_older_one_is_overtaken_by_none():
    """The older one, longer and slower, takes over what the shorter one has computed."""
    s = scheduler(prefill_chunk=8, step_tokens=8)
    long = Sequence([*[5] * 40, 1])
    s.add(long)
    run(s)
    other, short = Sequence([*SYSTEM, 1]), Sequence(SYSTEM[:21])
    s.add(other)
    s.add(short)
    for _ in range(30):
        run(s)
    assert other.reused_tokens + short.reused_tokens == 20
    assert min(len(other.tokens) - 62, len(short.tokens) - 21, len(long.tokens) - 41) > 0


@pytest.mark.parametrize("clients", [2, 9])
def test_choices_of_one_prompt_compute_it_once(clients: int):
    gate = Gate()
    model = PagedModel(num_blocks=200, before_forward=gate)
    engine = Engine(model, 256, prefill_chunk=16, step_tokens=64, max_batch=16)
    params = [SamplingParams(max_new_tokens=9, seed=seed) for seed in range(clients)]
    requests = [engine.submit(SYSTEM, one) for one in params]
    gate.open.set()
    together = [request.result() for request in requests]
    assert computed_tokens(model) == 60 + clients * (1 + 8)
    assert [r.stats.cached_tokens for r in together] == [0] + [60] * (clients - 1)
    status = engine.status()
    assert (status.cached_tokens, status.prompt_tokens) == (60 * (clients - 1), 61 * clients)
    for result, one in zip(together, params, strict=True):
        alone = Engine(PagedModel(), 256)
        assert alone.submit(SYSTEM, one).result().token_ids == result.token_ids
        alone.close()
    engine.close()


def test_many_questions_after_one_system_prompt():
    gate = Gate()
    model = PagedModel(num_blocks=300, before_forward=gate)
    engine = Engine(model, 256, prefill_chunk=16, step_tokens=64)
    questions = [[*SYSTEM, i, *range(i)] for i in range(12)]
    requests = [engine.submit(question, greedy(6)) for question in questions]
    gate.open.set()
    for question, request in zip(questions, requests, strict=True):
        assert request.result().token_ids == expected_greedy(question, 6)
        assert request.stats.cached_tokens in (0, 60, 64)
    assert sum(request.stats.cached_tokens == 0 for request in requests) == 1
    engine.close()


def test_a_leader_that_is_cancelled_or_fails_holds_nobody_up():
    failing = iter([False, True])

    def fail(batch: Batch) -> None:
        if next(failing, False):
            raise DeviceError("gone")

    for how in ("cancelled", "failed"):
        gate = Gate(fail if how == "failed" else lambda batch: None)
        engine = Engine(PagedModel(before_forward=gate), 256, prefill_chunk=8, step_tokens=8)
        leader, *others = (engine.submit([*SYSTEM, i], greedy(5)) for i in range(4))
        if how == "cancelled":
            leader.cancel()
        gate.open.set()
        for i, request in enumerate(others):
            assert request.result().token_ids == expected_greedy([*SYSTEM, i + 1], 5)
        assert leader.finish_reason == ("cancelled" if how == "cancelled" else "error")
        engine.close()


def test_followers_in_a_small_pool():
    """Pools that hold hardly more than one of them: preempted leaders and followers go on."""
    for blocks in (18, 20, 25):
        engine = Engine(PagedModel(num_blocks=blocks), 72, prefill_chunk=8, step_tokens=16)
        prompts = [[*SYSTEM[: 20 + 10 * (i % 4)], i] for i in range(8)]
        requests = [engine.submit(prompt, greedy(10)) for prompt in prompts]
        for prompt, request in zip(prompts, requests, strict=True):
            assert request.result().token_ids == expected_greedy(prompt, 10)
        engine._scheduler.check()
        engine.close()
