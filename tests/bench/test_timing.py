"""Which steps are timed, and what the model sees of them."""

import time

import numpy as np
import pytest

from cl_llama.bench.timing import EXTRA_TOKENS, decode_seconds, prefill_seconds
from cl_llama.errors import DeviceMemoryError
from cl_llama.models.batch import STEP_TOKENS
from tests.paged_model import PagedModel


class FilledModel(PagedModel):
    """A model whose cache holds something everywhere."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self._cache[:] = 7


@pytest.mark.parametrize("depth", [0, 1, 2, 5, 32])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_decode_steps(depth: int, batch: int) -> None:
    steps = 6
    model = FilledModel(num_blocks=batch * (depth + steps + EXTRA_TOKENS))
    assert len(decode_seconds(model, batch, depth, steps)) == steps
    assert len(model.batches) == steps
    assert set(model.used) == {"argmax"}
    tables = [tuple(s.block_table) for s in model.batches[-1].slices]
    blocks = [block for table in tables for block in table]
    assert len(blocks) == len(set(blocks)), "sequences share memory"
    for step, made in enumerate(model.batches):
        assert [len(s.token_ids) for s in made.slices] == [1] * batch
        starts = [s.start for s in made.slices]
        assert min(starts) == depth + step
        assert max(starts) - min(starts) <= 1


def test_what_is_timed() -> None:
    def before_forward(batch: object) -> None:
        time.sleep(0.005)

    def between() -> None:
        time.sleep(0.05)

    model = FilledModel(before_forward=before_forward)
    seconds = decode_seconds(model, 2, 3, 4, between)
    assert min(seconds) >= 0.005
    assert sum(seconds) < 4 * 0.05


def test_a_cache_too_small() -> None:
    with pytest.raises(DeviceMemoryError, match="9 blocks of 4 positions do not hold 4 sequences"):
        decode_seconds(FilledModel(num_blocks=9), 4, 8, 3)


@pytest.mark.parametrize("tokens", [1, STEP_TOKENS, STEP_TOKENS + 1])
def test_prompts(tokens: int) -> None:
    model = FilledModel(num_blocks=200)
    assert prefill_seconds(model, tokens, 9) > 0
    slices = [s for batch in model.batches for s in batch.slices]
    positions = np.concatenate([np.arange(s.start, s.start + len(s.token_ids)) for s in slices])
    np.testing.assert_array_equal(positions, np.arange(9, 9 + tokens))
    assert max(len(s.token_ids) for s in slices) <= STEP_TOKENS
    assert [s.logits_rows for s in slices] == [0] * (len(slices) - 1) + [1]
