"""Small arrays that go to the device together."""

import numpy as np

from cl_llama.opencl.runtime import Runtime
from cl_llama.opencl.staging import Staging


def test_arrays_arrive_in_their_places(runtime: Runtime) -> None:
    """Step after step in the same buffer; what does not fit it gets a larger one."""
    staging = Staging(runtime)
    layouts = []
    for step, rows in enumerate((3, 3, 5, 9000, 3, 3)):
        arrays = [
            np.full((rows, 2), step + 0.5, np.float32),
            np.arange(step, step + rows, dtype=np.int32),
            np.array([[step]], np.int32),
            np.arange(6, dtype=np.int32).reshape(2, 3).T,
        ]
        sent = [staging.put(array) for array in arrays]
        expected = [array.copy() for array in arrays]
        for array in arrays:
            array[...] = -1  # it was copied
        layouts.append(staging.send())
        for array, there in zip(expected, sent, strict=True):
            assert there.shape == array.shape
            np.testing.assert_array_equal(there.numpy(), array)
    assert layouts[0] == layouts[1] != layouts[2]
    assert layouts[4] == layouts[5] != layouts[1]


def test_what_is_queued_is_not_overtaken(runtime: Runtime) -> None:
    """Many steps without waiting: each sees its own values."""
    staging = Staging(runtime)
    seen = []
    for step in range(50):
        there = staging.put(np.full(4000, step, np.int32))
        staging.send()
        seen.append(runtime.empty((4000,), np.int32))
        runtime._cl.enqueue_copy(runtime.queue, seen[-1].buffer, there.buffer, byte_count=16000)
    for step, array in enumerate(seen):
        assert set(array.numpy()) == {step}
