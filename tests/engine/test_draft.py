"""A draft model in front of the engine's: its cache keeps up with whatever happens to the texts."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.engine.request import Request
from cl_llama.engine.speculation.costs import StepCosts
from cl_llama.engine.speculation.draft import DraftModel
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import DeviceError
from cl_llama.models.batch import Batch
from tests.paged_model import NumpyLogits, PagedModel, expected_greedy

CHEAP = StepCosts(((1, 1.0), (2, 1.001)))
VOCAB = 40


class Unsure(PagedModel):
    """Takes another token than the largest for a third of the rows."""

    def forward(self, batch: Batch) -> NumpyLogits:
        logits_RV = super().forward(batch).numpy()
        others: NDArray[np.bool_] = logits_RV[:, 0] < -4 + 8 / 3
        logits_RV[others] = -logits_RV[others]
        return NumpyLogits(logits_RV, self.used)


def start(
    draft: PagedModel, model: PagedModel | None = None, length: int = 256, step: int = 16, **limits
) -> tuple[Engine, DraftModel]:
    proposer = DraftModel(draft, 0.01, VOCAB, length, step_tokens=step)
    defaults = {"prefill_chunk": 8, "step_tokens": 16, "max_batch": 4, "all_rows": 9}
    speculator = Speculator(proposer, CHEAP, most=4)
    engine = Engine(model or PagedModel(), 256, speculator=speculator, **(defaults | limits))
    return engine, proposer


def finish(engine: Engine, proposer: DraftModel, requests: Sequence[Request]) -> None:
    for request in requests:
        request.result()
    engine.close()
    engine._scheduler.check()
    proposer.check()
    assert not proposer._texts
    for pool in (engine._scheduler.pool, proposer._pool):
        assert pool.available == pool.num_blocks


def greedy(count: int = 30) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0)


@pytest.mark.parametrize("kind", [PagedModel, Unsure])
@pytest.mark.parametrize("draft_blocks", [64, 13, 3])
@pytest.mark.parametrize("num_blocks", [64, 13])
def test_texts_of_a_batch(kind: type[PagedModel], draft_blocks: int, num_blocks: int):
    engine, proposer = start(kind(draft_blocks), PagedModel(num_blocks))
    prompts = [[i, *(5, 6, 7, 8) * (i % 6)] for i in range(11)]
    requests = [engine.submit(prompt, greedy(18)) for prompt in prompts]
    finish(engine, proposer, requests)
    for prompt, request in zip(prompts, requests, strict=True):
        assert request.result().token_ids == expected_greedy(prompt, 18)
    status = engine.status()
    assert status.accepted_draft_tokens > 5
    assert (status.preemptions > 0) == (num_blocks == 13)
    right = status.accepted_draft_tokens == status.draft_tokens
    assert right == (kind is PagedModel)  # nothing in the draft's cache is stale


def test_a_prompt_is_read_in_parts_and_shared():
    draft = PagedModel()
    engine, proposer = start(draft, step=5)
    prompt = [(3 * i) % VOCAB for i in range(23)]
    first = engine.submit(prompt, greedy())
    first.result()
    read = sum(batch.token_count for batch in draft.batches[:5])
    assert [batch.token_count for batch in draft.batches[:5]] == [5, 5, 5, 5, 5]
    assert read == 25
    before = len(draft.batches)
    second = engine.submit(prompt, greedy())
    finish(engine, proposer, [second])
    assert draft.batches[before].slices[0].start == 20  # the blocks of the first are found
    assert first.result().token_ids == second.result().token_ids == expected_greedy(prompt, 30)
    assert first.stats.accepted_draft_tokens == first.stats.draft_tokens > 15


def test_positions_that_the_draft_does_not_know():
    engine, proposer = start(PagedModel(), length=12)
    request = engine.submit([1, 2], greedy())
    finish(engine, proposer, [request])
    assert request.result().token_ids == expected_greedy([1, 2], 30)
    assert 5 < request.stats.accepted_draft_tokens < 12


@pytest.mark.parametrize("vocab_size", [30, 50])
def test_vocabularies_of_other_sizes(vocab_size: int):
    """Tokens beyond the smaller one are neither guessed nor read by the draft."""
    draft = PagedModel(vocab_size=vocab_size)
    texts = [expected_greedy([i, 2], 30) for i in range(5)]
    engine, proposer = start(draft)
    requests = [engine.submit([i, 2], greedy()) for i in range(5)]
    finish(engine, proposer, requests)
    assert [request.result().token_ids for request in requests] == texts
    seen = {t for batch in draft.batches for part in batch.slices for t in part.token_ids.tolist()}
    assert max(seen) < min(vocab_size, VOCAB)
    assert engine.status().accepted_draft_tokens > 0


def test_a_draft_that_fails_fails_its_step_and_is_trusted_no_more():
    draft = PagedModel()
    engine, proposer = start(draft)
    assert engine.submit([1, 2], greedy()).result().token_ids == expected_greedy([1, 2], 30)

    def fail(batch: Batch) -> None:
        raise DeviceError("no more")

    draft.before_forward = fail
    with pytest.raises(DeviceError, match="no more"):
        engine.submit([1, 2], greedy()).result()
    draft.before_forward = lambda batch: None
    before = len(draft.batches)
    request = engine.submit([1, 2], greedy())
    finish(engine, proposer, [request])
    assert draft.batches[before].slices[0].start == 0
    assert request.result().token_ids == expected_greedy([1, 2], 30)


def test_seeded_texts():
    params = SamplingParams(max_new_tokens=25, seed=7, temperature=0.4)
    plain = Engine(PagedModel(), 256)
    expected = [plain.submit([i, 3], params).result().token_ids for i in range(6)]
    plain.close()
    engine, proposer = start(PagedModel())
    requests = [engine.submit([i, 3], params) for i in range(6)]
    finish(engine, proposer, requests)
    assert [request.result().token_ids for request in requests] == expected
    assert 0 < engine.status().accepted_draft_tokens < engine.status().draft_tokens
