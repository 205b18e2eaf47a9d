"""How many may wait, and what an engine tells of itself."""

import threading

import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import QueueFullError, RequestError
from cl_llama.llm import Llama
from cl_llama.models.batch import Batch
from tests.paged_model import PagedModel, expected_greedy


def greedy(count: int) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0)


class Gate:
    """Stops the engine before each forward until it is let on."""

    def __init__(self) -> None:
        self._reached, self._on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, batch: Batch) -> None:
        self._reached.release()
        assert self._on.acquire(timeout=30)

    def wait(self) -> None:
        """Until the engine is before its next forward."""
        assert self._reached.acquire(timeout=30)

    def let_on(self, steps: int = 1000) -> None:
        self._on.release(steps)


def test_no_more_than_max_waiting_wait():
    gate = Gate()
    engine = Engine(PagedModel(before_forward=gate), 256, max_batch=2, max_waiting=3)
    requests = [engine.submit([1], greedy(9))]
    gate.wait()
    requests += [engine.submit([i], greedy(9)) for i in range(4)]  # one of them finds a place
    for _ in range(2):
        with pytest.raises(
            QueueFullError, match="4 requests wait already, max_waiting is 3; try again"
        ):
            engine.submit([8], greedy(9))
    assert engine.submit([8], greedy(0)).finish_reason == "length"  # it has nothing to wait for
    status = engine.status()
    assert (status.state, status.running, status.waiting) == ("ready", 1, 4)
    requests[-1].cancel()
    gate.let_on()
    assert requests[-1].result().finish_reason == "cancelled"
    for request, first in zip(requests[:-1], (1, 0, 1, 2), strict=True):
        assert request.result().token_ids == expected_greedy([first], 9)
    assert engine.submit([8], greedy(9)).result().token_ids == expected_greedy([8], 9)
    engine.close()


def test_places_do_not_count_where_blocks_are_missing():
    gate = Gate()
    engine = Engine(PagedModel(num_blocks=4, before_forward=gate), 16, max_waiting=1)
    large = [engine.submit([0] * 9, greedy(3))]
    gate.wait()
    large.append(engine.submit([1] * 9, greedy(3)))
    gate.let_on(1)
    gate.wait()  # the second one was looked at, and waits for blocks
    assert engine.status().waiting == 1
    with pytest.raises(QueueFullError, match="1 requests wait already, max_waiting is 1"):
        engine.submit([5], greedy(3))
    gate.let_on()
    for i in range(2):
        assert large[i].result().token_ids == expected_greedy([i] * 9, 3)
    engine.close()


def test_the_totals_are_exact_when_a_request_has_ended():
    model = PagedModel(num_blocks=20)
    engine = Engine(model, 64)
    prompt = [(3 * i) % 40 for i in range(21)]
    engine.submit(prompt, greedy(12)).result()
    engine.submit([*prompt, 5], greedy(7)).result()
    status = engine.status()
    assert (status.prompt_tokens, status.cached_tokens, status.generated_tokens) == (43, 20, 19)
    assert status.steps == len(model.batches)
    assert (status.running, status.waiting) == (0, 0)
    assert (status.cache_blocks, status.cache_blocks_held) == (20, 0)
    assert status.cache_blocks_idle == 8 + 2  # 32 tokens of the first text, 8 of the second
    assert status.preemptions == status.rebuilds == status.draft_tokens == 0
    engine.close()
    assert engine.status().state == "closed"


def test_preempted_requests_count_once():
    engine = Engine(PagedModel(num_blocks=9), 64)
    requests = [engine.submit([3, 1, 4, i], greedy(20)) for i in range(12)]
    for request in requests:
        request.result()
    status = engine.status()
    assert status.preemptions > 0
    assert status.prompt_tokens == 48
    assert status.generated_tokens == 240
    engine.close()


def test_a_model_tells_of_its_device_and_bounds_its_queue():
    with Llama(PagedModel(), None, max_waiting=0, device_label="3 Some: device") as llm:
        assert llm.device_label == "3 Some: device"
        assert len(llm.generate([1], greedy(3)).token_ids) == 3
        with pytest.raises(QueueFullError):
            llm.generate([[i] for i in range(40)], greedy(200))
    with Llama(PagedModel(), None) as llm:
        assert llm.device_label == ""
    with pytest.raises(RequestError, match="max_waiting must be at least 0, or None, got -1"):
        Llama(PagedModel(), None, max_waiting=-1)


@pytest.mark.parametrize("cache", ["on", "off", "full"])
def test_a_text_does_not_depend_on_the_prefix_cache(cache: str):
    model = PagedModel(num_blocks=8 if cache == "full" else 64)
    engine = Engine(model, 32, prefix_cache=cache != "off")
    system = [(7 * i) % 40 for i in range(17)]
    cached = 0
    for question in (1, 2, 3, 1):
        first = engine.submit([*system, question], greedy(8)).result()
        assert first.token_ids == expected_greedy([*system, question], 8)
        cached += first.stats.cached_tokens
        other = engine.submit([question] * 24, greedy(8)).result()  # evicts where there is little
        assert other.token_ids == expected_greedy([question] * 24, 8)
    status = engine.status()
    assert cached == {"on": 16 + 16 + 16, "off": 0, "full": 0}[cache]
    assert status.cached_tokens == {"on": cached + 20, "off": 0, "full": 0}[cache]
    assert (status.cache_blocks_idle > 0) == (cache != "off")
    engine.close()
