"""Rounds values to f16 on the device: hosts take several times as long as reading them."""

import numpy as np

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.shapes import ceil_div, expect

_GROUP = 64


def to_half(values: DeviceArray, halves: DeviceArray, first: int, too_large: DeviceArray) -> None:
    """Write values, rounded to the nearest, into an array from its element `first` on.

    Args:
        values: float32 of any shape, or uint16, which are bfloat16's bits.
        halves: float16, of which as many elements are written as there are values.
        first: of these elements.
        too_large: uint32 [1], which becomes 1 where f16 cannot hold a value, and else stays.
    """
    count = int(np.prod(values.shape, dtype=np.int64))
    expect("to_half", "too_large", too_large, (1,))
    if first + count > np.prod(halves.shape, dtype=np.int64):
        raise ValueError(f"to_half: {count} values from {first} on exceed {halves.shape}")
    defines = {} if values.dtype == np.float32 else {"BF16": 1}
    runtime = values.runtime
    kernel = runtime.kernel("to_half.cl", "to_half", "bublb", **defines)
    items = ceil_div(ceil_div(count, 16), _GROUP) * _GROUP
    runtime.launch(kernel, (items,), (_GROUP,), values, count, halves, first, too_large)
