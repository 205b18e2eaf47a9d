"""How texts and prompts share steps."""

import threading

import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.pace import PROMPT_SECONDS, TEXT_SECONDS, Pace
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.scheduler import Budget, Sequence
from tests.engine.test_scheduler import run, scheduler, shapes
from tests.paged_model import PagedModel, expected_greedy


def of(chunks, *sequences):
    """Tokens that each sequence got."""
    return tuple(sum(c.count for c in chunks if c.sequence is s) for s in sequences)


def test_a_short_prompt_does_not_wait_for_a_long_one():
    s = scheduler(prefill_chunk=16)
    long, short = Sequence([1] * 90), Sequence([2, 3, 4])
    s.add(long)
    assert of(run(s), long) == (16,)
    s.add(short)
    assert of(run(s), long, short) == (13, 3)
    assert of(run(s), long, short) == (15, 1)  # it generates


def test_equal_prompts_are_computed_one_after_the_other():
    s = scheduler(prefill_chunk=16)
    first, second = Sequence([1] * 30), Sequence([2] * 30)
    s.add(first)
    s.add(second)
    assert of(run(s), first, second) == (16, 0)
    assert of(run(s), first, second) == (14, 2)
    assert of(run(s), first, second) == (1, 15)


def test_short_prompts_do_not_starve_a_long_one():
    """It has half of every step, however many shorter ones come."""
    s = scheduler(prefill_chunk=16)
    long = Sequence([1] * 80)
    s.add(long)
    for step in range(10):
        for i in range(2):
            s.add(Sequence([step, i, 5, 6, 7, 8, 9, 10]))
        chunks = run(s)
        assert of(chunks, long) == (8,)
        for chunk in chunks:
            if chunk.logits == "last":
                s.remove(chunk.sequence)
    assert long not in s.running


def test_prompts_get_what_the_budget_leaves_them():
    s = scheduler(num_blocks=256, step_tokens=128, prefill_chunk=128)
    text, long = Sequence([1]), Sequence([2] * 500)
    s.add(text)
    run(s)
    s.add(long)
    sizes = []
    for beside in (31, 33, 40, 0, 1000):
        chunks = s.schedule(Budget(beside, 64))
        s.advance(chunks)
        text.tokens.append(0)
        sizes.append(of(chunks, text, long))
    # Whole tiles of 16 with the text's token, one at least.
    assert sizes == [(1, 31), (1, 31), (1, 31), (1, 15), (1, 127)]
    s.remove(text)
    other = Sequence([3] * 300)
    s.add(other)
    assert of(s.schedule(Budget(16, 64)), long, other) == (64, 0)
    s.remove(other)
    assert of(s.schedule(Budget(16, 64)), long) == (128,)


def test_rows_of_logits_are_shared_too():
    s = scheduler(all_rows=4)
    long, short = (Sequence([i] * n, wants_all_rows=True) for i, n in ((1, 40), (2, 2)))
    s.add(long)
    s.add(short)
    assert shapes(run(s)) == [(0, 2, "all"), (0, 2, "all")]


def test_the_pace_learns_how_long_prompts_take():
    pace = Pace()
    first = pace.budget
    pace.note(0, 0.1, waited=True)
    assert pace.budget == first
    for _ in range(30):
        pace.note(40, 0.1 + 40 * 0.01, waited=True)
    assert pace.budget.beside_texts == pytest.approx((TEXT_SECONDS - 0.1) / 0.01, abs=2)
    assert pace.budget.together == pytest.approx(PROMPT_SECONDS / 0.01, abs=2)
    for _ in range(30):  # another device
        pace.note(0, 0.002, waited=True)
        pace.note(512, 0.01, waited=True)
    assert pace.budget.beside_texts > 10_000
    for _ in range(30):  # where a token of a text takes seconds, prompts get as long
        pace.note(0, 4.0, waited=True)
        pace.note(16, 4.0 + 16 * 0.1, waited=True)
    assert pace.budget.beside_texts == pytest.approx(40, abs=3)


def test_the_pace_counts_steps_that_nobody_waited_for():
    pace = Pace()
    for _ in range(30):
        pace.note(100, 0.001, waited=False)
        pace.note(100, 2.0 - 0.001, waited=True)
    assert pace.budget.together == pytest.approx(PROMPT_SECONDS / 0.01, abs=2)
    pace.note(100, 50.0, waited=False)
    pace.forget_pending()
    pace.note(100, 1.0, waited=True)
    assert pace.budget.together == pytest.approx(PROMPT_SECONDS / 0.01, abs=2)


def test_long_steps_are_waited_for():
    """Else several would be queued, before which nobody who comes takes part."""

    class Taught(Pace):
        def note(self, prompt_tokens: int, seconds: float, *, waited: bool) -> None:
            """Learns nothing from the steps of a busy machine."""

    model = PagedModel(num_blocks=128)
    pace = Taught()
    engine = Engine(model, 400, prefill_chunk=32, pace=pace)
    greedy = SamplingParams(max_new_tokens=1, temperature=0.0)
    for token_seconds, waits in ((0.0001, 0), (0.01, 3)):
        for _ in range(30):
            Pace.note(pace, 100, 100 * token_seconds, waited=True)
        model.used.clear()
        prompt = [int(1000 * token_seconds)] * 128
        assert engine.submit(prompt, greedy).result().token_ids == expected_greedy(prompt, 1)
        assert model.used.count("wait") == waits
    engine.close()


def test_texts_go_on_beside_long_prompts():
    class Slow(Pace):
        budget = Budget(beside_texts=8, together=32)

    gate = threading.Event()
    model = PagedModel(num_blocks=128, before_forward=lambda batch: gate.wait(30))
    engine = Engine(model, 400, pace=Slow())
    text = engine.submit([1, 2], SamplingParams(max_new_tokens=10, temperature=0.0))
    long = [(3 * i) % 40 for i in range(300)]
    other = engine.submit(long, SamplingParams(max_new_tokens=3, temperature=0.0))
    gate.set()
    assert text.result().token_ids == expected_greedy([1, 2], 10)
    assert other.result().token_ids == expected_greedy(long, 3)
    steps = [[len(s.token_ids) for s in b.slices] for b in model.batches if b.token_count > 2]
    beside = [sizes[1] for sizes in steps if len(sizes) == 2 and sizes[0] == 1]
    assert set(beside) == {15}  # with the text's token a tile
    assert steps[-1] == [300 - sum(sizes[-1] for sizes in steps[:-1])]  # alone, all the rest
    assert steps[-1][0] > 100
    engine.close()
