"""Devices that fail: a step's requests end with the error, others are served by a new model."""

import threading
import weakref
from collections.abc import Callable, Iterable

import pytest

from cl_llama.engine import recovery
from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.recovery import Loaded
from cl_llama.errors import DeviceError, KernelBuildError, LogitsError
from cl_llama.models.batch import Batch
from tests.paged_model import NumpyLogits, PagedModel, expected_greedy

GREEDY = SamplingParams(max_new_tokens=12, temperature=0.0)
GONE = "1 Some: device: read: OUT_OF_RESOURCES"


class Failing(PagedModel):
    """Fails at the given forwards, as they are begun or as their logits are read."""

    def __init__(self, at: Iterable[int], where: str = "forward", **sizes: int) -> None:
        super().__init__(**sizes)
        self.at, self.where, self.count = frozenset(at), where, 0

    def forward(self, batch: Batch) -> NumpyLogits:
        self.count += 1
        fails = self.count in self.at
        if fails and self.where == "forward":
            raise DeviceError(GONE)
        logits = super().forward(batch)
        if fails:
            logits.argmax = self._fail
        return logits

    def _fail(self) -> None:
        raise DeviceError(GONE)


class Supply:
    """Gives models one after the other, or raises."""

    def __init__(self, *models: PagedModel | Exception) -> None:
        self.models = list(models)
        self.calls = 0

    def __call__(self) -> Loaded:
        self.calls += 1
        model = self.models.pop(0)
        if isinstance(model, Exception):
            raise model
        return model, None


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "PAUSES", (0.0, 0.0, 0.0))


@pytest.mark.parametrize("where", ["forward", "read"])
@pytest.mark.parametrize("at", [1, 2, 5])
def test_others_are_served_by_a_new_model(at: int, where: str):
    old, new = Failing([at], where), PagedModel()
    gate = threading.Event()
    old.before_forward = lambda batch: gate.wait(30)
    engine = Engine(old, 64, max_batch=1, rebuild=Supply(new))
    prompt = list(range(9))
    failing, waiting = engine.submit(prompt, GREEDY), engine.submit([*prompt, 3], GREEDY)
    gate.set()
    seen = []
    with pytest.raises(DeviceError, match="OUT_OF_RESOURCES"):
        for event in failing:
            seen.append(event.token_id)
    assert seen == expected_greedy(prompt, at - 1)
    assert waiting.result().token_ids == expected_greedy([*prompt, 3], 12)
    later = engine.submit(prompt, GREEDY).result()
    assert later.token_ids == expected_greedy(prompt, 12)
    assert later.stats.cached_tokens == 8  # of what the new model computed
    assert waiting.stats.cached_tokens == 0
    status = engine.status()
    assert (status.state, status.rebuilds) == ("ready", 1)
    assert engine.model is new
    assert len(old.batches) <= at
    engine._scheduler.check()
    engine.close()


def test_running_requests_outside_the_step_go_on():
    """One that only waited for the step's end, with tokens generated before."""
    old = Failing([7])
    engine = Engine(old, 64, max_batch=4, step_tokens=4, rebuild=Supply(PagedModel()))
    texts = {}

    def client(first: int) -> None:
        try:
            texts[first] = engine.submit([first, 2], GREEDY).result().token_ids
        except DeviceError:
            texts[first] = "failed"

    threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    failed = [first for first, text in texts.items() if text == "failed"]
    assert 1 <= len(failed) <= 4
    for first in set(texts) - set(failed):
        assert texts[first] == expected_greedy([first, 2], 12)
    engine.close()


def test_requests_may_come_while_the_model_is_loaded():
    entered, go_on = threading.Event(), threading.Event()

    def rebuild() -> Loaded:
        entered.set()
        assert go_on.wait(30)
        return PagedModel(), None

    engine = Engine(Failing([1]), 64, rebuild=rebuild)
    failing = engine.submit([1], GREEDY)
    assert entered.wait(30)
    with pytest.raises(DeviceError):
        failing.result()
    request = engine.submit([2], GREEDY)
    assert engine.status().state == "rebuilding"
    assert engine.status().waiting == 1
    go_on.set()
    assert request.result().token_ids == expected_greedy([2], 12)
    assert engine.status().state == "ready"
    engine.close()


def test_a_model_that_cannot_be_loaded_is_tried_again():
    supply = Supply(DeviceError("busy"), MemoryError(), PagedModel())
    engine = Engine(Failing([1]), 64, rebuild=supply)
    with pytest.raises(DeviceError):
        engine.submit([1], GREEDY).result()
    assert engine.submit([1], GREEDY).result().token_ids == expected_greedy([1], 12)
    assert (supply.calls, engine.status().rebuilds) == (3, 1)
    engine.close()


def ended(engine: Engine, fails: Callable[[], object], message: str) -> None:
    """The engine closes with this error, which whoever comes later gets, too."""
    with pytest.raises(DeviceError):
        fails()
    assert engine._thread is not None
    engine._thread.join(30)
    assert engine.status().state == "closed"
    with pytest.raises(DeviceError, match=message):
        engine.submit([1], GREEDY)


def test_a_model_that_cannot_be_loaded_at_all_closes_the_engine():
    gate = threading.Event()
    supply = Supply(*[DeviceError(f"no device {i}") for i in range(9)])
    model = Failing([1])
    engine = Engine(model, 64, max_batch=1, rebuild=lambda: (gate.wait(30), supply())[1])
    first, waiting = engine.submit([1], GREEDY), engine.submit([2], GREEDY)
    gate.set()
    message = "OUT_OF_RESOURCES; and the model could not be loaded anew, in 3 tries: no device 2"
    ended(engine, first.result, message)
    with pytest.raises(DeviceError, match=message):
        waiting.result()
    assert supply.calls == 3


def test_steps_that_fail_again_and_again_close_the_engine():
    always = range(1, 100)
    supply = Supply(*[Failing(always) for _ in range(20)])
    gate = threading.Event()
    engine = Engine(Failing(always), 64, max_batch=1, rebuild=lambda: (gate.wait(30), supply())[1])
    requests = [engine.submit([i], GREEDY) for i in range(9)]
    gate.set()
    for request in requests:
        with pytest.raises(DeviceError, match="OUT_OF_RESOURCES"):
            request.result()
    ended(engine, requests[0].result, "loaded anew 3 times, and each time its first step failed")
    assert supply.calls == 3


def test_steps_that_succeed_in_between_do_not():
    supply = Supply(*[Failing([4]) for _ in range(7)], PagedModel())
    engine = Engine(Failing([4]), 64, rebuild=supply)
    for i in range(8):
        with pytest.raises(DeviceError):
            engine.submit([i, 1], GREEDY).result()
    assert engine.submit([1], GREEDY).result().token_ids == expected_greedy([1], 12)
    assert engine.status().rebuilds == 8
    engine.close()


@pytest.mark.parametrize(
    "error", [LogitsError("not numbers"), KernelBuildError("no"), ValueError("bug")]
)
def test_errors_that_a_new_model_would_not_mend(error: Exception):
    errors = iter([error])

    def fail(batch: Batch) -> None:
        for one in errors:
            raise one

    supply = Supply()
    engine = Engine(PagedModel(before_forward=fail), 64, rebuild=supply)
    with pytest.raises(DeviceError):
        engine.submit([1], GREEDY).result()
    assert engine.submit([1], GREEDY).result().token_ids == expected_greedy([1], 12)
    assert supply.calls == 0
    engine.close()


def test_closing_does_not_wait_for_the_next_try(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recovery, "PAUSES", (0.0, 1000.0))
    supply, tried = Supply(DeviceError("busy"), PagedModel()), threading.Event()
    engine = Engine(Failing([1]), 64, rebuild=lambda: (tried.set(), supply())[1])
    with pytest.raises(DeviceError):
        engine.submit([1], GREEDY).result()
    assert tried.wait(30)
    waiting = engine.submit([2], GREEDY)
    engine.close()
    assert waiting.result().finish_reason == "cancelled"
    assert supply.calls == 1


def test_a_model_with_less_cache_is_not_taken():
    engine = Engine(Failing([1]), 64, rebuild=Supply(PagedModel(num_blocks=5)))
    ended(engine, engine.submit([1], GREEDY).result, "with 5 blocks of cache, it had 64")


def test_what_the_failed_step_held_is_free_before_the_model_is_loaded():
    class Buffer:
        pass

    held: list[weakref.ref[Buffer]] = []

    def fail(batch: Batch) -> None:
        buffer = Buffer()
        held.append(weakref.ref(buffer))
        try:
            raise OSError("driver")
        except OSError as error:
            raise DeviceError(GONE) from error

    freed = []

    def rebuild() -> Loaded:
        freed.append(held[0]() is None)
        return PagedModel(), None

    engine = Engine(PagedModel(before_forward=fail), 64, rebuild=rebuild)
    with pytest.raises(DeviceError):
        engine.submit([1], GREEDY).result()
    assert engine.submit([1], GREEDY).result().token_ids == expected_greedy([1], 12)
    assert freed == [True]
    engine.close()
