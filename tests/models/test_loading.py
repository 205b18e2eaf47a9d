"""Weights on their way to a device: progress, values that f16 cannot hold, what is let go of."""

from dataclasses import replace

import numpy as np
import pytest

from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import CheckpointError, DeviceMemoryError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.loading import load_model
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Runtime
from tests.models import fixture_models


class HostArray:
    """A tensor of a checkpoint, from an array."""

    def __init__(self, name: str, array: np.ndarray, dtype: str) -> None:
        self.name = name
        self.shape = array.shape
        self.format = dtype
        self.array = array
        self.released = False

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop]

    def file_rows(self) -> tuple[()]:
        return ()

    def release(self) -> None:
        self.released = True


def load_with(runtime: Runtime, part: str, values: np.ndarray, dtype: str) -> None:
    """A fixture's model with one tensor of the first layer, or one outside, replaced."""
    with open_checkpoint(fixture_models.FIXTURES / "llama-biases") as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
        tensor = HostArray(f"model.{part}", values, dtype)
        if hasattr(tensors, part):
            tensors = replace(tensors, **{part: tensor})
        else:
            first = replace(tensors.layers[0], **{part: tensor})
            tensors = replace(tensors, layers=(first, *tensors.layers[1:]))
        load_model(config, tensors, runtime)


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
@pytest.mark.parametrize("value", [65520.0, -1e6, 3e38, np.inf, np.nan])
@pytest.mark.parametrize("part", ["embedding", "down"])
def test_a_value_that_f16_cannot_hold(
    runtime: Runtime, part: str, value: float, dtype: str
) -> None:
    shape = {"embedding": (160, 48), "down": (48, 112)}[part]
    values = np.zeros(shape, np.float32)
    values[-1, -1] = value
    with pytest.raises(CheckpointError, match=rf"model\.{part}: holds .*, f16 ends at 65504"):
        load_with(runtime, part, values, dtype)


def test_the_largest_value_that_rounds_to_f16(runtime: Runtime) -> None:
    load_with(runtime, "down", np.full((48, 112), 65519.0, np.float32), "f32")


@pytest.mark.parametrize("part", ["attn_norm", "q_bias", "final_norm"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_vector_that_is_not_finite(runtime: Runtime, part: str, value: float) -> None:
    with pytest.raises(CheckpointError, match=rf"model\.{part}: holds a value that is not finite"):
        load_with(runtime, part, np.full(48, value, np.float32), "f32")


def test_a_vector_beyond_f16(runtime: Runtime) -> None:
    load_with(runtime, "attn_norm", np.full(48, 1e6, np.float32), "f32")  # norms stay f32


@pytest.mark.parametrize("name", ["llama32-tied", "meta-llama2", "sharded"])
def test_progress_rises_to_one(runtime: Runtime, name: str) -> None:
    shares: list[float] = []
    fixture_models.load(name, runtime, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] == 1.0
    assert shares[-2] > 0.9, "the matrices alone are nearly all of it"


def test_nothing_is_read_where_it_does_not_fit(device: DeviceInfo) -> None:
    with open_checkpoint(fixture_models.FIXTURES / "sharded") as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
    runtime = Runtime(replace(device, global_mem_bytes=100_000))
    # reading from the closed files would be another error
    with pytest.raises(DeviceMemoryError, match="no context length would fit"):
        load_model(config, tensors, runtime)
    runtime.close()
