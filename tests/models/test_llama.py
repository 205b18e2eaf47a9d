"""The forward pass on every device against float64, and one way through it against the others."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from cl_llama import ops
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import DeviceError
from cl_llama.llm import Llama
from cl_llama.models.batch import Batch
from cl_llama.models.decoder import Decoder, DeviceLogits
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.models import fixture_models
from tests.models.fixture_models import NAMES, Truth, forward, slice_of

# Float32 sums, and the few keys and values that float32 rounds to another f16 than float64 does.
TOLERANCE = 5e-5
# Learned positions, grouped queries, a window that ends within the prompt, rotary angles that
# depend on the length; what other families do otherwise.
PATH_NAMES = ["gpt2", "llama3-gqa", "mistral-window", "rope-dynamic"]
PATH_NAMES += ["gemma2", "gemma3", "granite", "olmo2", "phi3"]


@functools.cache
def model_on(runtime: Runtime, family: Family, name: str) -> Decoder:
    return fixture_models.load(name, runtime, family=family)


def assert_logits(actual: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    """Within the tolerance, and the same token is the most likely at every position."""
    error = reference.relative_rms(actual, expected)
    assert error <= TOLERANCE, f"relative RMS error {error:.1e}"
    np.testing.assert_array_equal(np.argmax(actual, axis=1), reference.argmax(expected))


def prompt_and_continuation(known: Truth) -> NDArray[np.int32]:
    return np.concatenate([known.ids, known.greedy[:-1]])


@pytest.mark.parametrize("name", NAMES)
def test_prompt_and_greedy_continuation(runtime: Runtime, family: Family, name: str) -> None:
    known = fixture_models.truth(name)
    logits = fixture_models.run_and_decode(model_on(runtime, family, name), known)
    assert_logits(logits, known.logits)
    np.testing.assert_array_equal(np.argmax(logits, axis=1)[len(known.ids) - 1 :], known.greedy)


@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("name", PATH_NAMES)
def test_in_chunks(runtime: Runtime, family: Family, name: str, chunk: int) -> None:
    known = fixture_models.truth(name)
    model = model_on(runtime, family, name)
    ids = prompt_and_continuation(known)
    table = np.random.default_rng(chunk).permutation(model.num_blocks).astype(np.int32)
    rows = [
        forward(model, slice_of(ids[start : start + chunk], start, table, "all"))
        for start in range(0, len(ids), chunk)
    ]
    assert_logits(np.concatenate(rows), known.logits)


@pytest.mark.parametrize("name", PATH_NAMES)
def test_batched_with_strangers(runtime: Runtime, family: Family, name: str) -> None:
    """Another sequence before ours and one behind, of other chunk sizes and other prompts."""
    known = fixture_models.truth(name)
    model = load_with_blocks(runtime, family, name, 9)
    ids = prompt_and_continuation(known)
    rng = np.random.default_rng(0)
    tables = rng.permutation(9).astype(np.int32).reshape(3, 3)
    strangers = rng.integers(0, model.config.vocab_size, (2, len(ids)), np.int32)
    rows, start, step = [], 0, 0
    while start < len(ids):
        stop = min(start + (1 if step % 3 == 2 else 17), len(ids))
        before = slice_of(strangers[0, step : step + 1], step, tables[0], "last")
        ours = slice_of(ids[start:stop], start, tables[1], "all")
        behind = slice_of(
            strangers[1, 5 * step : 5 * step + 5], 5 * step, tables[2], ["none", "all"][step % 2]
        )
        logits = forward(model, before, ours, behind)
        rows.append(logits[1 : 1 + stop - start])
        start, step = stop, step + 1
    assert_logits(np.concatenate(rows), known.logits)


@pytest.mark.parametrize("name", PATH_NAMES)
def test_from_a_shared_prefix(runtime: Runtime, family: Family, name: str) -> None:
    """The full blocks that another sequence wrote are read by ours, which goes on from there."""
    known = fixture_models.truth(name)
    model = load_with_blocks(runtime, family, name, 6)
    ids = prompt_and_continuation(known)
    shared = (len(ids) - 1) // ops.BLOCK
    prefix = shared * ops.BLOCK
    order = np.random.default_rng(1).permutation(6).astype(np.int32)
    first, second = order[:3], np.concatenate([order[:shared], order[3:]])
    other = np.concatenate([ids[:prefix], ids[::-1][: len(ids) - prefix]])
    forward(model, slice_of(other, 0, first, "none"))
    middle = prefix + 1 + (len(ids) - prefix) // 2
    # While ours goes on, the other decodes in its own last block.
    rows = [forward(model, slice_of(ids[prefix:middle], prefix, second, "all"))]
    for position in range(middle, len(ids)):
        ours = slice_of(ids[position : position + 1], position, second)
        theirs = slice_of(other[position : position + 1], position, first)
        rows.append(forward(model, theirs, ours)[1:])
    assert_logits(np.concatenate(rows), known.logits[prefix:])


def load_with_blocks(runtime: Runtime, family: Family, name: str, blocks: int) -> Decoder:
    return fixture_models.load(name, runtime, family=family, max_seq_len=blocks * ops.BLOCK)


def test_through_the_engine(runtime: Runtime) -> None:
    """Requests together, and one again, whose prompt's full blocks are in the cache by then."""
    name = "rope-dynamic"
    known = fixture_models.truth(name)
    params = SamplingParams(max_new_tokens=16, temperature=0.0, stop_token_ids=[])
    prompts = [known.ids.tolist(), known.ids[5:50].tolist(), known.ids.tolist()]
    with Llama(fixture_models.load(name, runtime), None) as llm:
        together = llm.generate(prompts, params)
        again = llm.generate(prompts[0], params)
        logits = llm.logits(prompts[0])
    for completion in (together[0], together[2], again):
        assert completion.token_ids == known.greedy.tolist()
    assert again.stats.cached_tokens == 2 * ops.BLOCK
    assert_logits(logits, known.logits[: len(known.ids)])


@pytest.mark.parametrize(
    "ask",
    [DeviceLogits.argmax, lambda x: x.top_k(3), DeviceLogits.logsumexp, DeviceLogits.numpy],
    ids=["argmax", "top_k", "logsumexp", "numpy"],
)
def test_logits_that_are_not_numbers(
    runtime: Runtime, family: Family, ask: Callable[[DeviceLogits], object]
) -> None:
    logits_RV = np.zeros((2, 40), np.float32)
    ask(DeviceLogits(runtime.from_numpy(logits_RV), family))
    logits_RV[1, 7] = np.nan
    with pytest.raises(DeviceError, match="the model's logits are not numbers"):
        ask(DeviceLogits(runtime.from_numpy(logits_RV), family))


def test_no_logits_asked_for(runtime: Runtime, family: Family) -> None:
    model = model_on(runtime, family, "llama3-gqa")
    table = np.arange(model.num_blocks, dtype=np.int32)
    logits = model.forward(Batch((slice_of(np.array([1, 2, 3]), 0, table, "none"),)))
    assert logits.rows == 0
    assert logits.numpy().shape == (0, model.config.vocab_size)
