"""Embeddings: the mean of a prompt's states, however it was cut and whoever ran beside it."""

import threading

import numpy as np
import pytest

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError
from cl_llama.llm import Llama
from tests.paged_model import PagedModel, expected_greedy, expected_logits, expected_mean

GREEDY = SamplingParams(max_new_tokens=20, temperature=0.0)


@pytest.mark.parametrize("length", [1, 8, 9, 23])
def test_alone(length: int):
    engine = Engine(PagedModel(), 64, prefill_chunk=8)
    prompt = [(5 * i) % 40 for i in range(length)]
    engine.submit(prompt, GREEDY).result()  # its cached prefix must not be taken
    request = engine.submit(prompt, embed=True)
    np.testing.assert_allclose(request.embedding(), expected_mean(prompt), rtol=1e-6)
    result = request.result()
    assert (result.token_ids, result.finish_reason) == ([], "length")
    assert result.stats.cached_tokens == 0
    engine.close()


def test_among_others_and_under_preemption():
    model = PagedModel(num_blocks=12)
    engine = Engine(model, 48, prefill_chunk=8, step_tokens=16, max_batch=6, all_rows=3)
    prompts = [[i, *range(18)] for i in range(4)]
    texts = [engine.submit([i, 2], GREEDY) for i in range(3)]
    means = [engine.submit(prompt, embed=True) for prompt in prompts]
    logits = engine.submit(prompts[0], prompt_logits=True)
    texts += [engine.submit([i, 2], GREEDY) for i in range(3, 6)]
    for prompt, request in zip(prompts, means, strict=True):
        np.testing.assert_allclose(request.embedding(), expected_mean(prompt), rtol=1e-6)
    rows = np.concatenate(list(logits.prompt_logits()))
    np.testing.assert_array_equal(rows, expected_logits(prompts[0]))
    for i, request in enumerate(texts):
        assert request.result().token_ids == expected_greedy([i, 2], 20)
    assert engine.status().preemptions > 0
    assert any(batch.states_rows and batch.logits_rows for batch in model.batches)
    engine.close()


def test_states_computed_again_count_once():
    """An embedding that was sent back in its middle goes on where it was."""
    model = PagedModel()
    engine = Engine(model, 64, prefill_chunk=4)
    steps: list[int] = []

    def send_back(token_id: int) -> bool:
        steps.append(token_id)
        if len(steps) == 3:
            engine._scheduler._send_back()
        return False

    ready = model.before_forward
    waiting = threading.Event()
    model.before_forward = lambda batch: waiting.wait(30)
    engine.submit([1], GREEDY, stop_when=send_back)
    request = engine.submit(list(range(30)), embed=True)
    model.before_forward = ready
    waiting.set()
    np.testing.assert_allclose(request.embedding(), expected_mean(range(30)), rtol=1e-6)
    computed = sum(len(s.token_ids) for b in model.batches for s in b.slices if s.states)
    assert computed == 30
    engine.close()


def test_from_the_model():
    with Llama(PagedModel(), None) as llm:
        one, several = llm.embed([3, 1]), llm.embed([[3, 1], [4, 4, 4]])
        assert one.shape == (8,)
        assert one.dtype == np.float32
        np.testing.assert_array_equal(several[0], one)
        np.testing.assert_allclose(several[1], expected_mean([4, 4, 4]), rtol=1e-6)
        assert llm.embed([]).shape == (0, 8)
        with pytest.raises(RequestError, match="token id 77"):
            llm.embed([[1], [77]])
    with pytest.raises(RequestError, match="the engine is closed"):
        llm.embed([1])
