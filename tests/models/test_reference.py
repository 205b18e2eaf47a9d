"""The float64 reference against transformers' logits, for every fixture."""

from pathlib import Path

import numpy as np
import pytest

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.config import config_from_checkpoint
from tests import reference

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAMES = sorted(path.parent.name for path in FIXTURES.glob("*/expected.npz"))

# transformers keeps norms, softmax and rotary angles in float32 even in a float64 model.
EXACT_TOLERANCE = 2e-6
# Rounding K and V to f16 (2^-11 each) moves random models' logits by 2e-4 to 6e-4.
F16_KV_TOLERANCE = 1e-3


def test_there_are_fixtures():
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_reference_equals_transformers(name):
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    with np.load(FIXTURES / name / "expected.npz") as expected:
        ids, logits, greedy = expected["ids"], expected["logits"], expected["greedy"]
    assert logits.shape == (len(ids), config.vocab_size)
    assert len(greedy) == (24 if config.architecture == "gpt2" else 16)

    exact = reference.logits(config, weights, ids, kept=np.asarray)
    assert reference.relative_rms(exact, logits) < EXACT_TOLERANCE

    fed = np.concatenate([ids, greedy[:-1]])
    device = reference.logits(config, weights, fed)
    assert reference.relative_rms(device[: len(ids)], logits) < F16_KV_TOLERANCE
    np.testing.assert_array_equal(
        reference.argmax(device[: len(ids)]), reference.argmax(logits), "most likely ids"
    )
    np.testing.assert_array_equal(reference.argmax(device[len(ids) - 1 :]), greedy, "greedy ids")
    assert reference.top2_margins(device).min() > 2e-3


def test_greedy_decodes_one_by_one():
    name = "rope-dynamic"
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    with np.load(FIXTURES / name / "expected.npz") as expected:
        got = reference.greedy(config, weights, expected["ids"], 4)
        np.testing.assert_array_equal(got, expected["greedy"][:4])


def test_attention_by_hand():
    # One head of width 1, scores 0: the mean of the visible values.
    q, k = np.zeros((2, 1, 1)), np.ones((4, 1, 1))
    v = np.array([1.0, 2.0, 4.0, 8.0]).reshape(4, 1, 1)
    np.testing.assert_allclose(
        reference.attention(q, k, v, [1, 3]).ravel(), [1.5, 3.75], rtol=1e-15
    )
    np.testing.assert_allclose(
        reference.attention(q, k, v, [1, 3], window=2).ravel(), [1.5, 6.0], rtol=1e-15
    )


def test_rope_by_hand():
    quarter_turns = np.array([[[0.0, 1.0], [-1.0, 0.0]]])  # pair 0 by 90 degrees, pair 1 by 180
    x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    np.testing.assert_array_equal(
        reference.rope(x, quarter_turns, "half").ravel(), [-3.0, -2.0, 1.0, -4.0]
    )
    np.testing.assert_array_equal(
        reference.rope(x, quarter_turns, "adjacent").ravel(), [-2.0, 1.0, -3.0, -4.0]
    )


def test_small_operations_by_hand():
    np.testing.assert_allclose(
        reference.layernorm([[1.0, 3.0], [5.0, 5.0]], [1.0, 2.0], [0.5, 0.0], 1e-30),
        [[-0.5, 2.0], [0.5, 0.0]],
    )
    np.testing.assert_allclose(  # values of torch's gelu(approximate="tanh") in float64
        reference.gelu([[-1.0, 0.0, 2.0]]), [[-0.15880800939172324, 0.0, 1.954597694087775]]
    )
    np.testing.assert_allclose(
        reference.rmsnorm([[3.0, 4.0]], [1.0, 2.0], 0.0) ** 2, [[0.72, 5.12]]
    )
    np.testing.assert_allclose(
        reference.swiglu([[-800.0, 0.0, 2.0]], [[1.0, 5.0, 3.0]]),
        [[0.0, 0.0, 6.0 / (1.0 + np.exp(-2.0))]],
    )
    np.testing.assert_allclose(reference.logsumexp([[1000.0, 1000.0]]), [1000.0 + np.log(2.0)])
    np.testing.assert_array_equal(
        reference.matmul([[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [0.5, 0.0]), [[11.5, 17.0]]
    )
    values, ids = reference.top_k(np.array([[1.0, 3.0, 3.0, 2.0]]), 3)
    np.testing.assert_array_equal(values, [[3.0, 3.0, 2.0]])
    np.testing.assert_array_equal(ids, [[1, 2, 3]])
    np.testing.assert_array_equal(reference.argmax([[1.0, 3.0, 3.0]]), [1])
