"""The forward pass on Intel AMX against float64, and one way through it against the others."""

import numpy as np
import pytest

from cl_llama.opencl.runtime import Runtime
from cl_llama.ops.matmul_amx import MIN_ROWS
from tests import reference
from tests.models import fixture_models, test_llama
from tests.models.fixture_models import NAMES

FAST_TOLERANCE = 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_high(amx_runtime: Runtime, name: str) -> None:
    test_llama.test_prompt_and_greedy_continuation(amx_runtime, "cpu", name)


@pytest.mark.parametrize("name", NAMES)
def test_fast(amx_runtime: Runtime, name: str) -> None:
    known = fixture_models.truth(name)
    model = fixture_models.load(name, amx_runtime, precision="fast")
    table = np.arange(model.num_blocks, dtype=np.int32)
    part = fixture_models.slice_of(known.ids, 0, table, "all")
    error = reference.relative_rms(
        fixture_models.forward(model, part), known.logits[: len(known.ids)]
    )
    # Rounding to 8 bits shows; the vector units' float32 sums stay far below.
    assert 1e-4 < error <= FAST_TOLERANCE, f"relative RMS error {error:.1e}"


@pytest.mark.parametrize("chunk", [MIN_ROWS - 1, MIN_ROWS, 33])
def test_in_chunks(amx_runtime: Runtime, chunk: int) -> None:
    test_llama.test_in_chunks(amx_runtime, "cpu", "llama3-gqa", chunk)


def test_batched_with_strangers(amx_runtime: Runtime) -> None:
    test_llama.test_batched_with_strangers(amx_runtime, "cpu", "mistral-window")


def test_from_a_shared_prefix(amx_runtime: Runtime) -> None:
    test_llama.test_from_a_shared_prefix(amx_runtime, "cpu", "rope-dynamic")
