"""Launches that are repeated by a recording."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.recording import Repeats
from cl_llama.opencl.runtime import DeviceArray, Runtime


class Steps:
    """Runs of SwiGLU, which changes an array in place; `launched` are those without a recording."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.repeats: Repeats[DeviceArray] = Repeats(runtime)
        self.launched = 0

    def run(self, gate: DeviceArray, up: DeviceArray, times: int = 1) -> DeviceArray:
        def launches() -> DeviceArray:
            self.launched += 1
            for _ in range(times):
                ops.swiglu(gate, up)
            return gate

        return self.repeats.run((id(gate), id(up), times), launches)


def silu_times(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    return gate / (1 + np.exp(-gate)) * up


def test_a_recording_does_what_was_recorded(runtime: Runtime) -> None:
    """With the arrays' present contents, in order, whatever else is launched in between."""
    rng = np.random.default_rng(0)
    steps = Steps(runtime)
    gate, other = runtime.empty((1, 96), np.float32), runtime.empty((1, 96), np.float32)
    up = runtime.empty((1, 96), np.float32)
    for _ in range(9):
        values, factors = rng.standard_normal((2, 1, 96)).astype(np.float32)
        runtime.write(gate.buffer, values)
        runtime.write(up.buffer, factors)
        runtime.write(other.buffer, values)
        ops.swiglu(other, other)
        result = steps.run(gate, up, times=2)
        expected = silu_times(silu_times(values.astype(float), factors), factors)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert steps.launched == 5


def test_launches_that_take_turns(runtime: Runtime) -> None:
    """Each key has a recording of its own, as long as there are few of them."""
    steps = Steps(runtime)
    arrays = [runtime.from_numpy(np.full((1, 40), i + 1.0, np.float32)) for i in range(3)]
    before = [array.numpy() for array in arrays]
    for gate, up, runs in ((0, 2, 7), (1, 2, 1), (0, 2, 6), (1, 2, 6)):
        for _ in range(runs):
            steps.run(arrays[gate], arrays[up])
            before[gate] = silu_times(before[gate], before[2])
    for array, expected in zip(arrays, before, strict=True):
        np.testing.assert_allclose(array.numpy(), expected, rtol=1e-4)
    assert steps.launched == 5 + 1 + 0 + 4


def test_the_key_that_has_not_come_for_longest_makes_room(runtime: Runtime) -> None:
    """Its kernel objects serve the next."""
    steps = Steps(runtime)
    gate, up = (runtime.from_numpy(np.ones((1, 40), np.float32)) for _ in range(2))
    for _ in range(6):
        steps.run(gate, up)
    recorded = {
        launch.kernel for k in steps.repeats._known.values() for launch in k.recording.launches
    }
    for times in range(2, 10):
        steps.run(gate, up, times)
    assert steps.launched == 5 + 8
    for _ in range(6):
        steps.run(gate, up, 9)
    assert steps.launched == 5 + 8 + 4
    runtime.write(gate.buffer, np.ones((1, 40), np.float32))
    result = steps.run(gate, up)
    assert steps.launched == 5 + 8 + 4 + 1
    np.testing.assert_allclose(result.numpy(), silu_times(np.ones(1), np.ones(1)).item(), rtol=1e-5)
    (known,) = (k for k in steps.repeats._known.values() if k.result is not None)
    assert recorded < {launch.kernel for launch in known.recording.launches}


def test_recordings_keep_no_scratch_array_that_has_grown(runtime: Runtime) -> None:
    steps = Steps(runtime)
    runtime.scratch("growing", (1, 40), np.float32)
    gate, up = (runtime.from_numpy(np.ones((1, 40), np.float32)) for _ in range(2))
    for _ in range(6):
        steps.run(gate, up)
    runtime.scratch("growing", (1, 20), np.float32)
    steps.run(gate, up)
    assert steps.launched == 5
    runtime.scratch("growing", (9, 400), np.float32)
    for _ in range(6):
        steps.run(gate, up)
    assert steps.launched == 5 + 5


def test_a_profile_sees_repeated_launches(runtime: Runtime) -> None:
    steps = Steps(runtime)
    gate, up = (runtime.from_numpy(np.ones((1, 40), np.float32)) for _ in range(2))
    for _ in range(6):
        steps.run(gate, up)
    with runtime.profile() as profile:
        steps.run(gate, up)
    (command,) = profile.commands()
    assert command.name == "swiglu"
    assert command.seconds > 0
    assert steps.launched == 5


@pytest.mark.parametrize("failing", [0, 4])
def test_launches_that_fail_are_made_anew(runtime: Runtime, failing: int) -> None:
    """An error while a recording is made leaves none behind."""
    steps = Steps(runtime)
    gate, up = (runtime.from_numpy(np.ones((1, 40), np.float32)) for _ in range(2))
    for _ in range(failing):
        steps.run(gate, up)

    def launches() -> DeviceArray:
        ops.swiglu(gate, up)
        raise ValueError

    with pytest.raises(ValueError):
        steps.repeats.run((id(gate), id(up), 1), launches)
    runtime.write(gate.buffer, np.ones((1, 40), np.float32))
    steps.run(gate, up)
    np.testing.assert_allclose(gate.numpy(), silu_times(np.ones(1), np.ones(1)).item(), rtol=1e-5)
