"""Products with weight matrices on many-core devices."""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cl_llama.errors import ClLlamaError
from cl_llama.opencl.nvidia import nvidia_capability
from cl_llama.opencl.runtime import GROUP, WIDE_GROUP, DeviceArray, Runtime
from cl_llama.ops.matmul_method import ARGUMENTS, Method, Product, aligned, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment, Weight

logger = logging.getLogger(__name__)

GEMV_ROWS = 8
"""Most rows of activations that `Gemv` takes."""

Reduction = Literal["local", "subgroup", "warp"]
_REDUCE: dict[Reduction, int] = {"local": 0, "subgroup": 1, "warp": 2}
_GEMV_WEIGHT_ROWS = 4
_WIDE_ROWS = 4
"""Most rows of activations that groups of 256 take; their sums stay below 32 KiB."""
_ITEMS_PER_UNIT = 512
"""Work-items that keep a compute unit's memory busy, 64 bytes each in flight: 32 KiB."""
_ITEMS_T, _SIDE_N = 8, 8


@dataclass(frozen=True)
class Gemv(Method):
    """Up to 8 rows of activations: a work-group streams a few rows of weights past them.

    Attributes:
        reduction: how a group adds up, None chooses: subgroups and warps where a GPU has them.
        group: work-items of a group; None is 64, and 256 where a GPU would lack items otherwise.
    """

    reduction: Reduction | None = None
    group: int | None = None

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernel."""
        T, N, D = sizes
        runtime = x.runtime
        groups, group = ceil_div(N, _GEMV_WEIGHT_ROWS), self.group or GROUP
        few = groups * GROUP < _ITEMS_PER_UNIT * runtime.compute_units and T <= _WIDE_ROWS
        if self.group is None and few and runtime.wide_groups:
            group = WIDE_GROUP
        kernel = runtime.kernel(
            "matmul_gemv.cl",
            "matmul_gemv",
            ARGUMENTS + "u",
            GROUP=group,
            ROWS=_GEMV_WEIGHT_ROWS,
            TILE_T=next(t for t in (1, 2, 4, GEMV_ROWS) if t >= T),
            ALIGNED=aligned(segment, D),
            REDUCE=_REDUCE[self.reduction or default_reduction(runtime)],
        )
        values = arguments(x, segment, product)
        runtime.launch(kernel, (groups * group,), (group,), *values, *sizes, flags)


@dataclass(frozen=True)
class Gemm(Method):
    """Many rows of activations: work-groups share tiles of both through local memory.

    Attributes:
        items_n: work-items of a group along N, 8 or 16; along T there are 8.
    """

    items_n: int = 8

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernel."""
        T, N, D = sizes
        side_t = 4 if self.items_n == 8 and 4 * _ITEMS_T >= T else 8
        kernel = x.runtime.kernel(
            "matmul_gemm.cl",
            "matmul_gemm",
            ARGUMENTS + "u",
            ITEMS_N=self.items_n,
            SIDE_T=side_t,
            ALIGNED=aligned(segment, D),
        )
        values = arguments(x, segment, product)
        items = (
            self.items_n * ceil_div(N, self.items_n * _SIDE_N),
            _ITEMS_T * ceil_div(T, _ITEMS_T * side_t),
        )
        x.runtime.launch(kernel, items, (self.items_n, _ITEMS_T), *values, *sizes, flags)


def default_reduction(runtime: Runtime) -> Reduction:
    """How groups add up: as a GPU does it best and, shown by a small product, rightly."""
    if "reduction" not in runtime.findings:
        candidates: list[Reduction] = []
        if runtime.device.type == "gpu":
            if nvidia_capability(runtime.device) >= (7, 0):
                candidates.append("warp")
            elif runtime.device.subgroups:
                candidates.append("subgroup")
        right = (c for c in candidates if adds_up(runtime, c))
        runtime.findings["reduction"] = next(right, "local")
    reduction: Reduction = runtime.findings["reduction"]
    return reduction


def adds_up(runtime: Runtime, reduction: Reduction) -> bool:
    """Whether a small product comes out right with this reduction; a refusal to build is a no."""
    N, D = 10, 1000
    w_ND = (np.arange(N * D) % 61 - 30).reshape(N, D)
    x_TD = (np.arange(2 * D) % 7 - 3).reshape(2, D)
    out_TN = runtime.empty((2, N), np.float32)
    buffer = runtime.from_numpy(w_ND.astype(np.float16)).buffer
    weight = Weight(runtime, (Segment(buffer, 0, D, 0, N),), N, D)
    x = runtime.from_numpy(x_TD.astype(np.float32))
    try:
        method = Gemv(reduction)
        method.launch(x, weight.segments[0], Product(weight, out_TN), (2, N, D), 0)
        return np.array_equal(out_TN.numpy(), x_TD @ w_ND.T)
    except ClLlamaError as error:
        logger.debug("%s: sums by %s: %s", runtime.device.label, reduction, error)
        return False
