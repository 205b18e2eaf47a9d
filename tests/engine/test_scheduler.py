import numpy as np
import pytest

from cl_llama.engine.kv_cache import BlockPool
from cl_llama.engine.scheduler import Chunk, Scheduler, Sequence


def scheduler(num_blocks: int = 64, **limits: int) -> Scheduler:
    defaults = {"max_batch": 8, "step_tokens": 16, "prefill_chunk": 8, "all_rows": 4}
    return Scheduler(BlockPool(num_blocks, 4), **(defaults | limits))


def shapes(chunks: list[Chunk]) -> list[tuple[int, int, str]]:
    return [(chunk.start, chunk.count, chunk.logits) for chunk in chunks]


def run(scheduler: Scheduler, steps: int = 1) -> list[Chunk]:
    """Steps as the engine takes them: whoever had its last row computed gets a token."""
    chunks: list[Chunk] = []
    for _ in range(steps):
        chunks = scheduler.schedule()
        scheduler.advance(chunks)
        scheduler.check()
        for chunk in chunks:
            if chunk.logits == "last":
                chunk.sequence.tokens.append(0)
            elif chunk.logits == "all":
                chunk.sequence.delivered = chunk.start + chunk.count
    return chunks


def test_a_prompt_runs_in_chunks_and_then_token_by_token():
    s = scheduler()
    s.add(Sequence(list(range(19))))
    assert shapes(run(s)) == [(0, 8, "none")]
    assert shapes(run(s)) == [(8, 8, "none")]
    assert shapes(run(s)) == [(16, 3, "last")]
    assert shapes(run(s)) == [(19, 1, "last")]
    assert shapes(run(s)) == [(20, 1, "last")]


def test_decoding_and_prefill_share_a_step():
    s = scheduler()
    s.add(Sequence([1, 2, 3]))
    run(s)
    s.add(Sequence(list(range(10, 40))))
    s.add(Sequence(list(range(50, 80))))
    assert shapes(run(s)) == [(3, 1, "last"), (0, 8, "none"), (0, 7, "none")]


def test_first_come_first_served():
    s = scheduler(max_batch=2)
    sequences = [Sequence([i]) for i in range(4)]
    for sequence in sequences:
        s.add(sequence)
    assert [chunk.sequence for chunk in run(s)] == sequences[:2]
    s.remove(sequences[0])
    assert [chunk.sequence for chunk in run(s)] == sequences[1:3]


def test_a_long_prompt_at_the_head_is_not_overtaken():
    s = scheduler(num_blocks=4)
    first, long, short = Sequence([1] * 9), Sequence([2] * 8), Sequence([3])
    for sequence in (first, long, short):
        s.add(sequence)
    run(s)
    assert s.running == [first]
    s.remove(first)
    run(s)
    assert s.running == [long, short]


def test_the_newest_gives_way_when_blocks_run_out_and_resumes_later():
    s = scheduler(num_blocks=4)
    old, new = Sequence([1] * 7), Sequence([2] * 7)
    s.add(old)
    s.add(new)
    run(s)
    assert len(s.running) == 2
    run(s, 2)  # both hold 2 full blocks; the 9th token of the old one takes those of the new one
    assert s.running == [old]
    assert list(s.waiting) == [new]
    assert s.preemptions == 1
    length = len(new.tokens)
    run(s, 3)
    s.remove(old)
    while new.computed < length:
        run(s)
    assert len(new.tokens) == length + 1


def test_preempted_ones_keep_their_order():
    s = scheduler(num_blocks=6, max_batch=3)
    sequences = [Sequence([i] * 7) for i in range(3)]
    for sequence in sequences:
        s.add(sequence)
    for _ in range(12):
        run(s)
        assert [*s.running, *s.waiting] == sequences
    assert s.preemptions >= 2


def test_all_rows_come_once_and_few_at_a_time():
    s = scheduler()
    sequence = Sequence(list(range(10)), wants_all_rows=True)
    s.add(sequence)
    assert shapes(run(s)) == [(0, 4, "all")]
    s.restart()
    s.check()
    assert shapes(run(s)) == [(0, 4, "none")]
    assert shapes(run(s)) == [(4, 4, "all")]
    assert shapes(run(s)) == [(8, 2, "all")]


def test_rows_that_are_not_wanted_do_not_count():
    s = scheduler()
    s.add(Sequence(list(range(14)), wants_all_rows=True, delivered=9))
    assert shapes(run(s)) == [(0, 8, "none")]
    s.add(Sequence(list(range(5)), wants_all_rows=True))
    assert shapes(run(s)) == [(8, 1, "none"), (0, 4, "all")]
    assert shapes(run(s)) == [(9, 3, "all"), (4, 1, "all")]
    assert shapes(run(s)) == [(12, 2, "all")]


def test_restart_forgets_the_cache_and_loses_nobody():
    s = scheduler()
    first, second = Sequence(list(range(9))), Sequence(list(range(9)))
    s.add(first)
    run(s, 2)
    s.restart()
    assert list(s.waiting) == [first]
    s.add(second)
    assert shapes(run(s)) == [(0, 8, "none")]  # nothing is left of what was computed


@pytest.mark.parametrize("seed", range(6))
def test_random_load_ends_with_every_token_computed(seed: int):
    random = np.random.default_rng(seed)
    s = scheduler(num_blocks=int(random.integers(5, 9)), max_batch=4, step_tokens=9)
    left: dict[Sequence, int] = {}
    done = 0
    for step in range(4000):
        if step < 300 and random.random() < 0.3:
            prompt = random.integers(0, 2, random.integers(1, 14)).tolist()
            sequence = Sequence(prompt, wants_all_rows=bool(random.random() < 0.2))
            left[sequence] = int(random.integers(1, 21 - len(prompt)))
            s.add(sequence)
        if left and random.random() < 0.02:
            sequence = list(left)[int(random.integers(len(left)))]
            s.remove(sequence)
            del left[sequence]
        chunks = s.schedule()
        assert bool(chunks) == bool(left)
        assert sum(chunk.count for chunk in chunks) <= 9
        assert sum(c.count for c in chunks if c.logits == "all") <= 4
        served = {chunk.sequence for chunk in chunks}
        follows = [s._is_computed_by(s.running[:i], x) for i, x in enumerate(s.running)]
        leading = [x for x, waits in zip(s.running, follows, strict=True) if not waits]
        prompts = [x for x in leading if not x.generates]
        assert served == set(leading) - (set(prompts[1:]) - served)  # nobody starves
        s.advance(chunks)
        s.check()
        for chunk in chunks:
            sequence = chunk.sequence
            if chunk.logits == "last":
                assert sequence.computed == len(sequence.tokens)
                sequence.tokens.append(int(random.integers(2)))
                left[sequence] -= 1
            elif chunk.logits == "all":
                assert chunk.start <= sequence.delivered  # no row is skipped
                sequence.delivered = sequence.computed
                if sequence.delivered == len(sequence.tokens):
                    left[sequence] = 0
            if left[sequence] == 0:
                s.remove(sequence)
                del left[sequence]
                done += 1
        if step > 300 and not left:
            break
    assert not left
    assert s.idle
    assert s.pool.available == s.pool.num_blocks
    assert done > 40
    assert s.preemptions > 0
