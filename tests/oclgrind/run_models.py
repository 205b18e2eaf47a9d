"""A small model's prompt and the first words of a real one: python run_models.py stories260K.bin.

Prints nothing; an assertion fails where ids differ.
"""

import sys

import numpy as np

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.batch import Batch
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.loading import load_model
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import select_device
from cl_llama.opencl.runtime import Runtime
from tests import reference
from tests.models import fixture_models
from tests.models.fixture_models import slice_of

NAME, TOKENS = "llama3-gqa", 6
BOS, STEPS = 1, 10


def main() -> None:
    runtime = Runtime(select_device("oclgrind"))
    check_prompt(runtime)
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
