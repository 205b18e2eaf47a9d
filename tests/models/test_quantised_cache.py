"""A cache in Q8_0: every way through the model against a reference that rounds likewise."""

import functools

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.config import config_from_checkpoint
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES, forward, slice_of

# As with f16, where few keys and values are rounded to other neighbours; but these are further
# apart: a step of 1/127 of the largest, times some of a few thousand keys and values.
TOLERANCE = 2e-4
# A byte holds 1/254 of a group's largest at worst, about 4e-3 of its RMS; a sum over positions and
# heads averages that, and layers add to it.
FROM_F16 = 1e-2


@functools.cache
def expected(name: str) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """A fixture's prompt with its continuation, and the logits after each token."""
    known = fixture_models.truth(name)
    ids = np.concatenate([known.ids, known.greedy[:-1]])
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    return ids, reference.logits(config, weights, ids, kept=reference.q8_0)


def test_logits(runtime: Runtime, family: Family) -> None:
    """All at once, token by token, and in chunks beside another sequence."""
    name = "qwen3-qk-norm"  # heads of 128 elements
    ids, logits = expected(name)
    model = fixture_models.load(name, runtime, family=family, kv_type="q8_0", max_seq_len=192)
    tables = np.random.default_rng(0).permutation(6).astype(np.int32).reshape(2, 3)
    at_once = forward(model, slice_of(ids, 0, tables[0], "all"))
    singly = [forward(model, slice_of(ids[i : i + 1], i, tables[1])) for i in range(len(ids))]
    beside = []
    for start in range(0, len(ids), 7):
        ours = slice_of(ids[start : start + 7], start, tables[0], "all")
        single = slice_of(ids[start : start + 1], start, tables[1])
        beside.append(forward(model, single, ours)[1:])
    for got in (at_once, np.concatenate(singly), np.concatenate(beside)):
        assert reference.relative_rms(got, logits) < TOLERANCE
        assert reference.relative_rms(got, fixture_models.truth(name).logits) < FROM_F16
