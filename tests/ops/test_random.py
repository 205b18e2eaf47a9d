"""Random values made on a device are those made on the host, bit for bit."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Runtime
from tests.ops.guarded import Guarded


@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize(("first", "seed"), [(0, 0), (12345, 7), (2**31 + 5, 2**32 - 1)])
def test_fill_random(runtime: Runtime, count: int, first: int, seed: int) -> None:
    out = Guarded(runtime, np.full(count, np.nan, np.float16))
    ops.fill_random(out.array, seed, 0.5, first)
    expected = ops.random_values(first, first + count, seed, 0.5)
    np.testing.assert_array_equal(out.numpy(), expected)


def test_the_values_are_spread_evenly() -> None:
    values = ops.random_values(0, 1 << 16, 3, 2.0).astype(np.float64)
    assert values.min() >= -2.0
    assert values.max() <= 2.0
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 2.0 / np.sqrt(3.0)) < 0.01
    other = ops.random_values(0, 1 << 16, 4, 2.0).astype(np.float64)
    for shift in (0, 1, 2):
        assert abs(np.corrcoef(values, np.roll(other, shift))[0, 1]) < 0.02
