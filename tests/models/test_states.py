"""The last hidden states, which embeddings are the mean of, on devices against float64."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.errors import DeviceError
from cl_llama.llm import Llama
from cl_llama.models.batch import Batch, SequenceSlice
from cl_llama.models.decoder import DeviceLogits
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES, open_checkpoint, slice_of

TOLERANCE = 5e-5


def expected_states(name: str, ids: np.ndarray) -> np.ndarray:
    config = fixture_models.truth(name).config
    with open_checkpoint(FIXTURES / name) as checkpoint:
        weights = reference.load_weights(config, checkpoint)
    return reference.states(config, weights, ids) / config.logits_scale


@pytest.mark.parametrize("name", ["llama3-gqa", "gpt2", "granite"])
def test_states_beside_logits(runtime: Runtime, family: Family, name: str):
    """In chunks, between slices that ask for logits; both are as they are alone."""
    known = fixture_models.truth(name)
    model = fixture_models.load(name, runtime, family=family, max_seq_len=9 * ops.BLOCK)
    first, ours, last = np.arange(9, dtype=np.int32).reshape(3, 3)
    ids, found = known.ids, []
    for start in range(0, len(ids), 23):
        piece = ids[start : start + 23].astype(np.int32)
        slices = (
            slice_of(ids[start : start + 1], start // 23, first, "all"),
            SequenceSlice(piece, start, ours, "none", states=True),
            slice_of(piece, start, last, "all"),
        )
        step = model.forward(Batch(slices))
        found.append(step.states())
        logits = step.numpy()[1:]
        assert reference.relative_rms(logits, known.logits[start : start + len(piece)]) <= TOLERANCE
    error = reference.relative_rms(np.concatenate(found), expected_states(name, ids))
    assert error <= TOLERANCE, f"relative RMS error {error:.1e}"


def test_embeddings_through_the_engine(runtime: Runtime):
    name = "llama3-gqa"
    ids = fixture_models.truth(name).ids.tolist()
    prompts = [ids, ids[:1], ids[3:40], [*ids, *ids[::-1]]]
    with Llama(fixture_models.load(name, runtime), None) as llm:
        llm.generate(ids)  # what the prefix cache holds has no states
        found = llm.embed(prompts)
        alone = llm.embed(ids)
    for mean_D, prompt in zip(found, prompts, strict=True):
        expected_D = expected_states(name, np.array(prompt)).mean(axis=0)
        assert reference.relative_rms(mean_D, expected_D) <= TOLERANCE
    assert found.dtype == np.float32
    np.testing.assert_allclose(alone, found[0], atol=1e-5)


def test_states_that_are_not_numbers(runtime: Runtime):
    states_ED = np.zeros((3, 8), np.float32)
    states_ED[2, 5] = np.nan
    on_device = runtime.from_numpy(states_ED)
    with pytest.raises(DeviceError, match="not numbers"):
        DeviceLogits(runtime.empty((0, 40), np.float32), "portable", on_device).states()
