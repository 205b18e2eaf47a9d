"""Models whose weights are in blocks: their reference logits, and those of devices."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.checkpoints import open_checkpoint
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.loading import load_model
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops import Precision
from tests import reference
from tests.models.fixture_models import forward, slice_of

IDS = np.array([1, 17, 5, 9, 2, 44, 30, 8, 8, 21, 89], np.int32)

# A key or value that the device rounds to the other float16 than the reference moves the logits of
# so small a model by up to 1.3e-4 (of 24 tries; 5e-5 is what models of real width keep to).
LIMITS: dict[Precision, float] = {"high": 2e-4, "fast": 1e-2}


def expected_logits(path: Path) -> NDArray[np.float64]:
    """After each of `IDS`, of the values that the file's blocks mean."""
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        return reference.logits(config, reference.load_weights(config, checkpoint), IDS)


def device_logits(path: Path, runtime: Runtime, **options: Any) -> NDArray[np.float32]:
    """The same of a prompt in one go, then of its last token alone; options are `load_model`'s."""
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        model = load_model(config, map_tensors(config, checkpoint), runtime, **options)
    table = np.arange(model.num_blocks, dtype=np.int32)
    rows = [forward(model, slice_of(IDS[:-1], 0, table, "all"))]
    rows.append(forward(model, slice_of(IDS[-1:], len(IDS) - 1, table, "all")))
    return np.concatenate(rows)
