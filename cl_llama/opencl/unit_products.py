"""The check of units that multiply float16 matrices: small products that come out exactly."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cl_llama.opencl.runtime import DeviceArray, Runtime

Multiply = Callable[["DeviceArray", "DeviceArray", "DeviceArray", int], None]
"""Queues out_TN = x_TD w_ND^T with activations in 1 or 2 float16 parts: x, w, out, parts."""

_SIZES = ((70, 100, 72), (70, 100, 96))
"""T, N, D: tiles at their edges, and columns that end with and within a tile."""


def check_products(runtime: "Runtime", multiply: Multiply) -> str | None:
    """Multiply small matrices, activations in one and in two parts; what went wrong, or None.

    Raises:
        DeviceError: the kernel does not build or run.
    """
    rng = np.random.default_rng(0)
    for T, N, D in _SIZES:
        # Small integers: exact in one part, and in every order and rounding of the sums.
        x_TD = rng.integers(-8, 9, (T, D)).astype(np.float32)
        w_ND = rng.integers(-8, 9, (N, D)).astype(np.float16)
        expected = x_TD @ w_ND.astype(np.float32).T
        x, w = runtime.from_numpy(x_TD), runtime.from_numpy(w_ND)
        for parts in (1, 2):
            out = runtime.from_numpy(np.full((T, N), np.nan, np.float32))
            multiply(x, w, out, parts)
            wrong = int(np.count_nonzero(out.numpy() != expected))
            if wrong:
                return f"{wrong} of {out.nbytes // 4} results are wrong with {parts} parts"
    return None
