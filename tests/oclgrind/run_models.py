"""A small model's prompt and the first words of a real one: python run_models.py stories260K.bin.

Prints nothing; an assertion fails where ids differ.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.batch import Batch
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.loading import load_model
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.runtime import Runtime
from tests import reference
from tests.checkpoints.checkpoint_files import llama2c_bytes, meta_tensors
from tests.models import fixture_models
from tests.models.fixture_models import slice_of

SMALL = {
    "dim": 80,
    "hidden_dim": 48,
    "n_layers": 1,
    "n_heads": 2,
    "n_kv_heads": 1,
    "vocab_size": 20,
    "max_seq_len": 64,
}
"""Heads of 40 elements: a scale for 32 of them, and one for eight."""
PROMPT, DECODED = 5, 3
NAME, TOKENS = "llama3-gqa", 6
BOS, STEPS = 1, 10


def main() -> None:
    runtime = Runtime(select_device("oclgrind"))
    check_prompt(runtime)
    check_quantised_cache(runtime)
    if len(sys.argv) > 1:
        check_story(runtime, sys.argv[1])


def check_prompt(runtime: Runtime) -> None:
    """The first tokens of a fixture's prompt: logits, and the most likely ids."""
    known = fixture_models.truth(NAME)
    model = fixture_models.load(NAME, runtime, max_seq_len=64)
    table = np.array([1, 0], np.int32)
    logits = fixture_models.forward(model, slice_of(known.ids[:TOKENS], 0, table, "all"))
    error = reference.relative_rms(logits, known.logits[:TOKENS])
    assert error < 5e-5, f"{NAME}: relative RMS error {error:.1e}"
    np.testing.assert_array_equal(np.argmax(logits, axis=1), known.best_ids[:TOKENS])


def check_quantised_cache(runtime: Runtime) -> None:
    """A prompt, then tokens one by one, from a cache in Q8_0 whose blocks lie in reverse."""
    tensors = meta_tensors(SMALL)
    for values in tensors.values():
        values *= 0.1
    ids = np.random.default_rng(0).integers(0, SMALL["vocab_size"], PROMPT + DECODED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.bin"
        path.write_bytes(llama2c_bytes(tensors, config=SMALL))
        with open_checkpoint(path) as checkpoint:
            config = config_from_checkpoint(checkpoint)
            weights = reference.load_weights(config, checkpoint)
            expected = reference.logits(config, weights, ids, kept=reference.q8_0)
            table = np.array([1, 0], np.int32)
            for family in ("portable", "cpu"):
                options = {"family": family, "kv_type": "q8_0"}
                model = load_model(config, map_tensors(config, checkpoint), runtime, **options)
                rows = [fixture_models.forward(model, slice_of(ids[:PROMPT], 0, table, "all"))]
                for i in range(PROMPT, len(ids)):
                    rows.append(fixture_models.forward(model, slice_of(ids[i : i + 1], i, table)))
                error = reference.relative_rms(np.concatenate(rows), expected)
                assert error < 2e-4, f"{family}: relative RMS error {error:.1e}"


def check_story(runtime: Runtime, path: str) -> None:
    """The ids that the reference chooses after BOS, one by one."""
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        expected = reference.greedy(
            config, reference.load_weights(config, checkpoint), [BOS], STEPS
        )
        tensors = map_tensors(config, checkpoint)
        # The CPU family has a work-item where the portable one has 64, which a simulator feels.
        model = load_model(config, tensors, runtime, max_seq_len=32, family="cpu")
    table, token, ids = np.zeros(1, np.int32), BOS, []
    for position in range(STEPS):
        logits = model.forward(Batch((slice_of(np.array([token]), position, table),)))
        token = int(logits.argmax()[0])
        ids.append(token)
    np.testing.assert_array_equal(ids, expected)


if __name__ == "__main__":
    main()
