"""The small models of tests/fixtures: their reference logits, and their copies on devices."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.batch import Batch, SequenceSlice
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.decoder import Decoder
from cl_llama.models.loading import load_model
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.runtime import Runtime
from tests import reference

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAMES = sorted(path.parent.name for path in FIXTURES.glob("*/expected.npz"))


@dataclass(frozen=True, eq=False)
class Truth:
    """What a fixture's model says of its prompt and of the continuation it chooses."""

    config: ModelConfig
    ids: NDArray[np.int32]
    """[T]: the prompt."""
    greedy: NDArray[np.int32]
    """[n], 16 or of GPT-2 24: its continuation, as transformers decodes it."""
    logits: NDArray[np.float64]
    """[T + n - 1, V]: after every token of the prompt and of its continuation but for the last."""

    @property
    def best_ids(self) -> NDArray[np.int32]:
        """[T + n - 1]: the most likely token after each of these."""
        return reference.argmax(self.logits)


@functools.cache
def truth(name: str) -> Truth:
    """A fixture's prompt and the float64 reference's logits."""
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    with np.load(FIXTURES / name / "expected.npz") as expected:
        ids, greedy = expected["ids"], expected["greedy"]
    fed = np.concatenate([ids, greedy[:-1]])
    return Truth(config, ids, greedy, reference.logits(config, weights, fed))


def load(name: str, runtime: Runtime, **options: Any) -> Decoder:
    """A fixture's model on a device; options are `load_model`'s."""
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        return load_model(config, map_tensors(config, checkpoint), runtime, **options)


def run_and_decode(model: Decoder, known: Truth) -> NDArray[np.float32]:
    """Logits [T + n - 1, V] of the prompt in one go and of its own greedy continuation, one by one.

    The blocks of the sequence lie in the cache in reverse.
    """
    table = np.arange(model.num_blocks, dtype=np.int32)[::-1].copy()
    rows = [forward(model, slice_of(known.ids, 0, table, "all"))]
    for position in range(len(known.ids), len(known.ids) + len(known.greedy) - 1):
        token = np.array([np.argmax(rows[-1][-1])], np.int32)
        rows.append(forward(model, slice_of(token, position, table, "all")))
    return np.concatenate(rows)


def slice_of(
    ids: NDArray[np.int32], start: int, table: NDArray[np.int32], logits: Any = "last"
) -> SequenceSlice:
    """A slice, as the engine makes them."""
    return SequenceSlice(np.asarray(ids, np.int32), start, table, logits)


def forward(model: Decoder, *slices: SequenceSlice) -> NDArray[np.float32]:
    """The logits [R, V] of a step, on the host."""
    return model.forward(Batch(slices)).numpy()
