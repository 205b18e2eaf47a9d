"""Random values made on the device: weights of a bench, of which none exist on the host."""

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.shapes import ceil_div

_GROUP = 64


def fill_random(values: DeviceArray, seed: int, amplitude: float, first: int = 0) -> None:
    """Fill an f16 array with the values [first, first + its size) of `random_values`."""
    runtime = values.runtime
    count = int(np.prod(values.shape, dtype=np.int64))
    kernel = runtime.kernel("fill_random.cl", "fill_random", "blluf")
    items = ceil_div(ceil_div(count, 16), _GROUP) * _GROUP
    runtime.launch(kernel, (items,), (_GROUP,), values, count, first, seed, amplitude)


def random_values(start: int, stop: int, seed: int, amplitude: float) -> NDArray[np.float16]:
    """Values [start, stop) of a seed's uniform ones in [-amplitude, amplitude), on the host.

    The hash is lowbias32 (Chris Wellons, "Prospecting for hash functions", 2018).
    """
    bits = _hash(_hash(np.arange(start, stop, dtype=np.uint64).astype(np.uint32)) ^ np.uint32(seed))
    u = (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1.0)
    return (u * np.float32(amplitude)).astype(np.float16)


def _hash(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
