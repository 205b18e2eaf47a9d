"""Outputs between guard bands: a kernel that writes past either end is found out."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import DeviceArray, Runtime

_BAND = 8192  # bytes; a multiple of every device's base address alignment


class Guarded:
    """An array on the device with a band of a known pattern before and after it."""

    def __init__(self, runtime: Runtime, initial: NDArray[Any]) -> None:
        self._runtime = runtime
        self._nbytes = initial.nbytes
        padded = math.ceil(max(initial.nbytes, 1) / _BAND) * _BAND
        self._pattern = np.random.default_rng(0).integers(0, 256, padded + 2 * _BAND, np.uint8)
        self._pattern[_BAND : _BAND + initial.nbytes] = np.ravel(initial).view(np.uint8)
        self._buffer = runtime.from_numpy(self._pattern).buffer
        inner = self._buffer.get_sub_region(_BAND, padded)
        self.array = DeviceArray(runtime, inner, initial.shape, initial.dtype)

    def numpy(self) -> NDArray[Any]:
        """The contents, after a check of both bands."""
        found = np.empty_like(self._pattern)
        self._runtime.read((self._buffer, found))
        end = _BAND + self._nbytes
        for band in (slice(0, _BAND), slice(end, None)):
            wrong = np.flatnonzero(found[band] != self._pattern[band])
            assert not len(wrong), f"written {len(wrong)} bytes outside, first at {wrong[0]}"
        return found[_BAND:end].view(self.array.dtype).reshape(self.array.shape).copy()


def assert_close(actual: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    """Every error is within `tolerance` of the expected values' RMS; NaN fails; names the worst."""
    expected = np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all(), f"not finite at {np.argwhere(~np.isfinite(actual))[0]}"
    scale = np.sqrt(np.mean(expected**2)) or 1.0
    error = np.abs(actual - expected) / scale
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert error[worst] <= tolerance, (
        f"at {tuple(map(int, worst))}: {actual[worst]!r}, expected {expected[worst]!r}, "
        f"error {error[worst]:.2e} of the RMS, allowed {tolerance:.0e}"
    )
