import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import ClLlamaError, DeviceError, RequestError
from cl_llama.models.batch import Batch
from tests.paged_model import PagedModel, expected_greedy, expected_logits

GREEDY = SamplingParams(max_new_tokens=12, temperature=0.0)


def greedy(count: int, **settings: object) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0, **settings)


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    """Engines that are closed, and checked for lost blocks, at the end."""
    engines: list[Engine] = []

    def make(model: PagedModel | None = None, max_seq_len: int = 256, **limits: int) -> Engine:
        defaults = {"prefill_chunk": 8, "step_tokens": 16, "max_batch": 4, "all_rows": 5}
        engines.append(Engine(model or PagedModel(), max_seq_len, **(defaults | limits)))
        return engines[-1]

    yield make
    for engine in engines:
        idle = engine._scheduler.idle
        engine.close()
        if idle:
            engine._scheduler.check()
            assert engine._scheduler.pool.available == engine.model.num_blocks
    assert not [t for t in threading.enumerate() if t.name == "cl-llama engine"]


class Gate:
    """Holds the model's thread before its forward until it is opened."""

    def __init__(self) -> None:
        self.waiting = threading.Event()
        self.open = threading.Event()

    def __call__(self, batch: Batch) -> None:
        self.waiting.set()
        assert self.open.wait(10)


def test_a_request_yields_its_tokens_and_its_end(start):
    request = start().submit([1, 2, 3], GREEDY)
    events = list(request)
    assert [event.token_id for event in events] == expected_greedy([1, 2, 3], 12)
    assert [event.finish_reason for event in events] == [None] * 11 + ["length"]
    assert request.finish_reason == "length"
    assert list(request) == events  # may be read again, and by others
    assert request.result().token_ids == [event.token_id for event in events]


def test_a_subscriber_hears_of_every_change(start):
    model = PagedModel()
    gate = model.before_forward = Gate()
    request = start(model).submit([3, 1], greedy(6))
    heard: list[tuple[bool, ...]] = []
    done = threading.Event()

    def listen() -> None:
        heard.append(tuple(request.has_event(index) for index in (0, 5, 6)))
        if request.finish_reason is not None:
            done.set()

    request.subscribe(listen)
    gate.open.set()
    assert done.wait(10)
    assert heard[0] == (False, False, False)
    assert heard[1] == (True, False, False)
    assert heard[-1] == (True, True, True)  # an end is an event, too
    assert len(heard) == 7


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 8, 9, 16, 17, 33])
def test_prompts_of_all_lengths(start, length: int):
    prompt = [(7 * i) % 40 for i in range(length)]
    assert start().submit(prompt, GREEDY).result().token_ids == expected_greedy(prompt, 12)


def test_prompt_ids_may_be_an_array(start):
    request = start().submit(np.array([1, 2, 3], dtype=np.int64), GREEDY)
    assert request.result().token_ids == expected_greedy([1, 2, 3], 12)
    assert type(request.prompt_ids[0]) is int


def test_requests_run_in_one_batch_and_get_what_they_get_alone(start):
    model = PagedModel()
    gate = model.before_forward = Gate()
    engine = start(model)
    prompts = [[i, *range(i)] for i in range(1, 8)]
    requests = [engine.submit(prompt, GREEDY) for prompt in prompts]
    gate.open.set()
    for prompt, request in zip(prompts, requests, strict=True):
        assert request.result().token_ids == expected_greedy(prompt, 12)
    assert max(len(batch.slices) for batch in model.batches) == 4
    mixed = [sorted(len(s.token_ids) for s in batch.slices) for batch in model.batches]
    assert any(sizes[0] == 1 and sizes[-1] > 1 for sizes in mixed)


def test_a_seeded_text_does_not_depend_on_the_batch(start):
    prompts = [[i, 5, i] for i in range(18)]
    params = [
        SamplingParams(max_new_tokens=15, seed=3),
        SamplingParams(max_new_tokens=15, seed=4, top_k=5, top_p=0.9),
        SamplingParams(max_new_tokens=15, seed=5, repetition_penalty=1.3, min_p=0.05),
        SamplingParams(max_new_tokens=15, temperature=0.0),
        SamplingParams(max_new_tokens=15, seed=6, xtc_probability=0.5, xtc_threshold=0.02, top_k=9),
        SamplingParams(max_new_tokens=15, seed=7, mirostat=2, mirostat_tau=3.0),
        SamplingParams(max_new_tokens=15, seed=8, dry_multiplier=2.0, dry_allowed_length=1),
        SamplingParams(max_new_tokens=15, seed=9, typical_p=0.8, top_n_sigma=1.5),
        SamplingParams(max_new_tokens=15, seed=10, dynatemp_range=0.8),
    ]
    alone = [
        start().submit(p, params[i % len(params)]).result().token_ids for i, p in enumerate(prompts)
    ]
    engine = start()
    together = [engine.submit(p, params[i % len(params)]) for i, p in enumerate(prompts)]
    assert [request.result().token_ids for request in together] == alone
    small = start(PagedModel(num_blocks=6))  # the same while being preempted
    together = [small.submit(p, params[i % len(params)]) for i, p in enumerate(prompts)]
    assert [request.result().token_ids for request in together] == alone
    assert small._scheduler.preemptions > 0


def test_preemption_keeps_every_text(start):
    model = PagedModel(num_blocks=9)
    engine = start(model)
    prompts = [[3, 1, 4, i] for i in range(12)]
    requests = [engine.submit(prompt, greedy(20)) for prompt in prompts]
    for prompt, request in zip(prompts, requests, strict=True):
        assert request.result().token_ids == expected_greedy(prompt, 20)
        assert request.stats.generated_tokens == 20
    assert engine._scheduler.preemptions > 0


def test_a_common_prefix_is_computed_once(start):
    model = PagedModel()
    engine = start(model)
    prefix = [(3 * i) % 40 for i in range(21)]
    first = engine.submit(prefix, GREEDY)
    assert first.result().token_ids == expected_greedy(prefix, 12)
    before = sum(batch.token_count for batch in model.batches)
    second = engine.submit([*prefix, 5], GREEDY)
    assert second.result().token_ids == expected_greedy([*prefix, 5], 12)
    computed = sum(batch.token_count for batch in model.batches) - before
    assert computed == 2 + 11  # the prompt but for 5 blocks; all generated tokens but the last
    assert first.stats.cached_tokens == 0
    assert second.stats.cached_tokens == 20
    chat = [*prefix, *first.result().token_ids, 8, 9]  # the generated part is reused too
    third = engine.submit(chat, GREEDY)
    assert third.result().token_ids == expected_greedy(chat, 12)
    assert third.stats.cached_tokens == 32


def test_evicted_prefixes_are_recomputed(start):
    engine = start(PagedModel(num_blocks=8))
    prompts = [[i] * 9 for i in range(6)]
    for _ in range(2):
        for prompt in prompts:
            assert engine.submit(prompt, GREEDY).result().token_ids == expected_greedy(prompt, 12)


def test_stop_tokens(start):
    text = expected_greedy([1, 2, 3], 12)
    end = text[5]
    count = text.index(end) + 1
    engine = start(PagedModel(eos_ids=(end,)), end_ids=(end,))
    by_default = engine.submit([1, 2, 3], greedy(12)).result()
    assert by_default.token_ids == text[:count]
    assert by_default.finish_reason == by_default.events[-1].finish_reason == "stop"
    ignored = engine.submit([1, 2, 3], greedy(12, stop_token_ids=())).result()
    assert ignored.token_ids == text
    own = engine.submit([1, 2, 3], greedy(12, stop_token_ids=[text[2]])).result()
    assert own.token_ids == text[: text.index(text[2]) + 1]
    at_limit = engine.submit([1, 2, 3], greedy(count)).result()
    assert at_limit.finish_reason == "stop"


def test_stop_when_ends_a_text(start):
    text = expected_greedy([1, 2, 3], 12)
    seen: list[int] = []

    def third_token(token_id: int) -> bool:
        seen.append(token_id)
        return len(seen) == 3

    result = start().submit([1, 2, 3], GREEDY, stop_when=third_token).result()
    assert result.token_ids == seen == text[:3]
    assert result.finish_reason == "stop"


def test_the_context_ends_a_text(start):
    engine = start(max_seq_len=10)
    params = SamplingParams(temperature=0.0)
    result = engine.submit([1, 2, 3], params).result()
    assert result.token_ids == expected_greedy([1, 2, 3], 7)
    assert result.finish_reason == "length"
    full = engine.submit(list(range(10)), params)
    assert full.result().token_ids == []
    assert full.finish_reason == "length"
    assert engine.submit([1], greedy(0)).result().token_ids == []


def test_the_pool_bounds_the_context(start):
    engine = start(PagedModel(num_blocks=3), max_seq_len=100)
    assert engine.max_seq_len == 12
    result = engine.submit([1, 2, 3], SamplingParams(temperature=0.0)).result()
    assert result.token_ids == expected_greedy([1, 2, 3], 9)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (list(range(13)), r"has 13 tokens, .* room for 12 \(cache: 3 blocks of 4\)"),
        ([], "holds no token"),
        ([1, 40], r"token id 40 is not in the vocabulary \(0 to 39\)"),
        ([-1], "token id -1"),
        ([1.5], "expected a sequence of token ids"),
        ("text", "expected a sequence of token ids"),
        (None, "expected a sequence of token ids, got None"),
    ],
)
def test_prompts_that_cannot_be_served(start, prompt: object, message: str):
    with pytest.raises(RequestError, match=message):
        start(PagedModel(num_blocks=3)).submit(prompt)


@pytest.mark.parametrize("name", ["logit_bias", "stop_token_ids"])
def test_parameters_with_unknown_tokens(start, name: str):
    value = {40: 1.0} if name == "logit_bias" else (40,)
    with pytest.raises(RequestError, match=f"{name}: token id 40"):
        start().submit([1], SamplingParams(**{name: value}))


def test_the_logit_mask_rules_every_step(start):
    def only_next_number(generated):
        allowed = np.zeros(40, dtype=bool)
        allowed[10 + len(generated)] = True
        return allowed

    request = start().submit([1], SamplingParams(max_new_tokens=5), logit_mask=only_next_number)
    assert request.result().token_ids == [10, 11, 12, 13, 14]


def test_logprobs_come_with_the_tokens(start):
    result = start().submit([1, 2], greedy(3, logprobs=2)).result()
    logits = expected_logits([1, 2])[-1].astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum())
    event = result.events[0]
    assert event.logprob == pytest.approx(logprobs.max(), abs=1e-5)
    assert event.top_logprobs[0] == (event.token_id, event.logprob)
    assert len(event.top_logprobs) == 2


@pytest.mark.parametrize("length", [1, 4, 5, 6, 23])
def test_prompt_logits(start, length: int):
    model = PagedModel()
    engine = start(model)
    prompt = [(5 * i) % 40 for i in range(length)]
    engine.submit(prompt, GREEDY).result()  # its cached prefix must not be taken
    request = engine.submit(prompt, prompt_logits=True)
    chunks = list(request.prompt_logits())
    assert max(map(len, chunks)) <= 5
    np.testing.assert_array_equal(np.concatenate(chunks), expected_logits(prompt))
    assert request.result().token_ids == []
    assert request.finish_reason == "length"
    assert request.stats.cached_tokens == 0


def test_prompt_logits_among_others_and_under_preemption(start):
    engine = start(PagedModel(num_blocks=10), all_rows=3)
    texts = [engine.submit([i, 2], greedy(25)) for i in range(3)]
    prompts = [[i, *range(17)] for i in range(4)]
    logits = [engine.submit(prompt, prompt_logits=True) for prompt in prompts]
    texts += [engine.submit([i, 2], greedy(25)) for i in range(3, 6)]
    for prompt, request in zip(prompts, logits, strict=True):
        rows = np.concatenate(list(request.prompt_logits()))
        np.testing.assert_array_equal(rows, expected_logits(prompt))
    for i, request in enumerate(texts):
        assert request.result().token_ids == expected_greedy([i, 2], 25)
    assert engine._scheduler.preemptions > 0


def test_prompt_logits_recomputed_in_other_chunks_come_once(start):
    model = PagedModel()
    gate = model.before_forward = Gate()
    engine = start(model, all_rows=5)
    steps: list[int] = []

    def preempt_the_newest(token_id: int) -> bool:
        steps.append(token_id)
        if len(steps) == 3:
            engine._scheduler._send_back()
        return False

    engine.submit([1], greedy(30), stop_when=preempt_the_newest)
    assert gate.waiting.wait(10)
    engine.submit(list(range(7)), prompt_logits=True)  # leaves the next one 3 rows in step 3
    prompt = list(range(20))
    request = engine.submit(prompt, prompt_logits=True)
    gate.open.set()
    chunks = list(request.prompt_logits())
    assert [len(chunk) for chunk in chunks] == [3, 5, 5, 5, 2]  # the first 3 only once
    np.testing.assert_array_equal(np.concatenate(chunks), expected_logits(prompt))


@pytest.mark.parametrize("rows", [0, 1, 6, 11, 23])
def test_logits_of_the_last_tokens(start, rows: int):
    prompt = [(5 * i) % 40 for i in range(23)]
    request = start().submit(prompt, prompt_logits=True, last_rows=rows)
    chunks = [np.empty((0, 40), np.float32), *request.prompt_logits()]
    np.testing.assert_array_equal(np.concatenate(chunks), expected_logits(prompt)[23 - rows :])
    assert request.finish_reason == "length"


@pytest.mark.parametrize("beside", ["nothing", "greedy", "logits"])
def test_log_probabilities_of_targets(start, beside: str):
    model = PagedModel()
    engine = start(model)
    prompts = [[(3 * i + j) % 40 for i in range(21)] for j in range(3)]
    targets = [[(7 * i + j) % 40 for i in range(13 + j)] for j in range(3)]
    if beside == "greedy":
        text = engine.submit([4, 2], greedy(9))
    elif beside == "logits":
        engine.submit(prompts[0], prompt_logits=True)
    requests = [engine.submit(p, targets=t) for p, t in zip(prompts, targets, strict=True)]
    for prompt, target, request in zip(prompts, targets, requests, strict=True):
        logits = expected_logits(prompt)[-len(target) :].astype(np.float64)
        expected = logits[np.arange(len(target)), target] - np.log(np.exp(logits).sum(axis=1))
        found = np.concatenate(list(request.prompt_logprobs()))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    if beside == "greedy":
        assert text.result().token_ids == expected_greedy([4, 2], 9)
    assert ("numpy" in model.used) == (beside == "logits")


def test_targets_that_cannot_be(start):
    engine = start()
    with pytest.raises(RequestError, match="targets: token id 40 is not in the vocabulary"):
        engine.submit([1, 2], targets=[40])
    with pytest.raises(RequestError, match="3 rows are asked of a prompt of 2 tokens"):
        engine.submit([1, 2], targets=[1, 2, 3])


def test_prompt_logits_may_fill_the_context(start):
    engine = start(max_seq_len=9)
    request = engine.submit(list(range(9)), prompt_logits=True)
    rows = np.concatenate(list(request.prompt_logits()))
    np.testing.assert_array_equal(rows, expected_logits(list(range(9))))


def test_cancelling_a_running_and_a_waiting_request(start):
    model = PagedModel()
    gate = model.before_forward = Gate()
    engine = start(model, max_batch=1)
    running = engine.submit([1, 2, 3], greedy(200))
    waiting = engine.submit([4], greedy(200))
    after = engine.submit([5], GREEDY)
    assert gate.waiting.wait(10)
    running.cancel()
    waiting.cancel()
    gate.open.set()
    assert running.result().finish_reason == "cancelled"
    assert len(running.result().token_ids) == 1
    assert waiting.result().token_ids == []
    assert after.result().token_ids == expected_greedy([5], 12)
    after.cancel()
    assert after.finish_reason == "length"


def test_cancelling_from_many_threads_leaves_the_others_alone(start):
    engine = start(PagedModel(num_blocks=20))
    random = np.random.default_rng(0)
    outcomes: list[bool] = []

    def client(number: int) -> None:
        for round_number in range(8):
            prompt = [number, round_number, 3]
            request = engine.submit(prompt, greedy(15))
            if (number + round_number) % 3 == 0:
                for _ in zip(request, range(int(delays[number, round_number])), strict=False):
                    pass
                request.cancel()
            result = request.result()
            expected = expected_greedy(prompt, len(result.token_ids))
            complete = result.finish_reason == "cancelled" or len(result.token_ids) == 15
            outcomes.append(result.token_ids == expected and complete)

    delays = random.integers(0, 10, (6, 8))
    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes == [True] * 48


class Trip:
    """Raises once, at the given forward."""

    def __init__(self, at: int, error: Exception) -> None:
        self.at, self.error, self.count = at, error, 0

    def __call__(self, batch: Batch) -> None:
        self.count += 1
        if self.count == self.at:
            raise self.error


@pytest.mark.parametrize("at", [1, 2, 5])
@pytest.mark.parametrize(
    "error", [DeviceError("queue: the device is gone"), ValueError("bad"), MemoryError()]
)
def test_a_failed_forward_fails_its_step_and_nothing_else(start, at: int, error: Exception):
    engine = start(PagedModel(before_forward=Trip(at, error)))
    prompt = list(range(12))
    failed = engine.submit(prompt, GREEDY)
    seen = []
    with pytest.raises(ClLlamaError) as caught:
        for event in failed:
            seen.append(event.token_id)
    assert seen == expected_greedy(prompt, max(0, at - 2))
    assert caught.value is error or caught.value.__cause__ is error
    assert "\n" not in str(caught.value)
    assert failed.finish_reason == "error"
    with pytest.raises(ClLlamaError):
        failed.result()
    again = engine.submit(prompt, GREEDY)
    assert again.result().token_ids == expected_greedy(prompt, 12)
    assert again.stats.cached_tokens == 0  # what the failed steps computed is not trusted


def test_requests_outside_a_failed_step_go_on(start):
    model = PagedModel()
    gate = Gate()
    trip = Trip(1, DeviceError("no"))
    model.before_forward = lambda batch: (gate(batch), trip(batch))
    engine = start(model, max_batch=1)
    failed, waiting = engine.submit([1], GREEDY), engine.submit([2], GREEDY)
    gate.open.set()
    with pytest.raises(DeviceError):
        failed.result()
    assert waiting.result().token_ids == expected_greedy([2], 12)


def test_a_failing_read_of_the_logits_fails_the_step(start):
    model = PagedModel()
    engine = start(model)
    model.used = None  # the logits cannot be read
    with pytest.raises(DeviceError, match="the forward pass failed: AttributeError"):
        engine.submit([1], GREEDY).result()
    model.used = []
    assert engine.submit([1], GREEDY).result().token_ids == expected_greedy([1], 12)


def test_a_hook_that_raises_fails_its_request_only(start):
    engine = start()
    good = engine.submit([1], GREEDY)
    mask = engine.submit([2], GREEDY, logit_mask=lambda ids: 1 // 0)
    stop = engine.submit([3], GREEDY, stop_when=lambda token_id: 1 // 0)
    with pytest.raises(RequestError, match="logit_mask raised ZeroDivisionError"):
        mask.result()
    with pytest.raises(RequestError, match="stop_when raised ZeroDivisionError"):
        stop.result()
    assert good.result().token_ids == expected_greedy([1], 12)


def test_ctrl_c_ends_a_wait(start):
    model = PagedModel()
    gate = model.before_forward = Gate()
    request = start(model).submit([1], GREEDY)
    interrupt = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        request.result()
    interrupt.join()
    gate.open.set()
    assert request.result().token_ids == expected_greedy([1], 12)


def test_closing_cancels_what_runs_and_waits(start):
    model = PagedModel()
    gate = model.before_forward = Gate()
    engine = start(model, max_batch=1)
    requests = [engine.submit([i], greedy(200)) for i in range(3)]
    assert gate.waiting.wait(10)
    closing = threading.Thread(target=engine.close)
    closing.start()
    while not engine._closed:
        time.sleep(0.001)
    gate.open.set()
    closing.join(10)
    assert [request.result().finish_reason for request in requests] == ["cancelled"] * 3
    engine.close()
    with pytest.raises(RequestError, match="the engine is closed"):
        engine.submit([1])


def test_an_engine_that_breaks_lets_nobody_hang(start, monkeypatch: pytest.MonkeyPatch):
    engine = start()
    monkeypatch.setattr(engine._scheduler, "schedule", lambda budget: 1 // 0)
    request = engine.submit([1], GREEDY)
    with pytest.raises(DeviceError, match="the engine failed: ZeroDivisionError"):
        request.result()
    engine._thread.join(10)
    with pytest.raises(DeviceError, match="the engine failed"):
        engine.submit([1])


def test_an_idle_engine_has_no_thread_until_it_is_used(start):
    engine = start()
    assert engine._thread is None
    engine.submit([1], GREEDY).result()
    engine.close()
    assert not engine._thread.is_alive()


def test_stats(start):
    request = start().submit([1, 2, 3], GREEDY)
    stats = request.result().stats
    assert (stats.prompt_tokens, stats.cached_tokens, stats.generated_tokens) == (3, 0, 12)
    assert 0 <= stats.queue_seconds <= stats.seconds_to_first_token
    assert stats.prompt_tokens_per_second > 0
    assert stats.generated_tokens_per_second > 0
    single = start().submit([1], greedy(1)).result().stats
    assert single.generated_tokens_per_second is None


def test_finished_requests_are_let_go(start):
    engine = start()
    request = engine.submit([1], GREEDY)
    request.result()
    gone = weakref.ref(request)
    del request
    deadline = time.monotonic() + 5
    while gone() is not None and time.monotonic() < deadline:
        gc.collect()
    assert gone() is None
