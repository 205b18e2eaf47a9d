"""Products with weight matrices on many-core devices."""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cl_llama.errors import ClLlamaError
from cl_llama.opencl.nvidia import nvidia_capability
from cl_llama.opencl.runtime import GROUP, WIDE_GROUP, DeviceArray, Runtime
from cl_llama.opencl.tuning import Parameter, value
from cl_llama.ops.matmul_method import ARGUMENTS, Method, Product, aligned, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment, Weight, block_defines

logger = logging.getLogger(__name__)

GEMV_ROWS = 8
"""Most rows of activations that `Gemv` takes."""

Reduction = Literal["local", "subgroup", "warp"]
_REDUCE: dict[Reduction, int] = {"local": 0, "subgroup": 1, "warp": 2}
_WIDE_ROWS = 4
"""Most rows of activations that groups of 256 take unasked."""
_LOCAL_BYTES = 32 << 10
"""Local memory that every device has."""
_ITEMS_PER_UNIT = 512
"""Work-items that keep a compute unit's memory busy, 64 bytes each in flight: 32 KiB."""
_ITEMS_T, _SIDE_N = 8, 8
GEMV_GROUP = Parameter(
    "matmul.portable.gemv_group",
    "work-items that stream past weights together; 0: 64, or 256 where a GPU would lack items",
    default=0,
    values=(0, 32, 64, 128, 256),
    rows=(1, 4),
)
GEMV_WEIGHT_ROWS = Parameter(
    "matmul.portable.gemv_weight_rows",
    "rows of weights that such a group reads at once",
    default=4,
    values=(1, 2, 4, 8),
    rows=(1, 4),
)
GEMM_ITEMS_N = Parameter(
    "matmul.portable.gemm_items_n",
    "work-items of a tile's group along the weights; along the activations there are 8",
    default=8,
    values=(8, 16),
    rows=(64, 256),
)
GEMM_SMALL_ROWS = Parameter(
    "matmul.portable.gemm_small_rows",
    "up to so many rows of activations tiles have 32 of them, else 64; groups of 64 only",
    default=4 * _ITEMS_T,
    values=(0, 4 * _ITEMS_T, 8 * _ITEMS_T, 16 * _ITEMS_T),
    rows=(24, 64, 96),
)
PARAMETERS = (GEMV_GROUP, GEMV_WEIGHT_ROWS, GEMM_ITEMS_N, GEMM_SMALL_ROWS)


@dataclass(frozen=True)
class Gemv(Method):
    """Up to 8 rows of activations: a work-group streams a few rows of weights past them.

    Attributes:
        reduction: how a group adds up, None chooses: subgroups and warps where a GPU has them.
        group: work-items of a group; None is what the device's parameters say.
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
        tile_t = next(t for t in (1, 2, 4, GEMV_ROWS) if t >= T)
        weight_rows = value(runtime.tuning, GEMV_WEIGHT_ROWS)
        groups = ceil_div(N, weight_rows)
        group = self.group or _gemv_group(runtime, groups, weight_rows, tile_t)
        kernel = runtime.kernel(
            "matmul_gemv.cl",
            "matmul_gemv",
            ARGUMENTS + "u",
            GROUP=group,
            ROWS=weight_rows,
            TILE_T=tile_t,
            **_stored(product.weight, segment, D),
            REDUCE=_REDUCE[self.reduction or default_reduction(runtime)],
        )
        values = arguments(x, segment, product)
        runtime.launch(kernel, (groups * group,), (group,), *values, *sizes, flags)


@dataclass(frozen=True)
class Gemm(Method):
    """Many rows of activations: work-groups share tiles of both through local memory.

    Attributes:
        items_n: work-items of a group along N, 8 or 16, None is what the device's parameters say;
            along T there are 8.
    """

    items_n: int | None = None

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
        items_n = self.items_n or value(runtime.tuning, GEMM_ITEMS_N)
        if items_n * _ITEMS_T > runtime.most_items:
            items_n = 8
        side_t = 4 if items_n == 8 and value(runtime.tuning, GEMM_SMALL_ROWS) >= T else 8
        kernel = runtime.kernel(
            "matmul_gemm.cl",
            "matmul_gemm",
            ARGUMENTS + "u",
            ITEMS_N=items_n,
            SIDE_T=side_t,
            **_stored(product.weight, segment, D),
        )
        values = arguments(x, segment, product)
        items = (
            items_n * ceil_div(N, items_n * _SIDE_N),
            _ITEMS_T * ceil_div(T, _ITEMS_T * side_t),
        )
        runtime.launch(kernel, items, (items_n, _ITEMS_T), *values, *sizes, flags)


def _stored(weight: Weight, segment: Segment, D: int) -> dict[str, int | str]:
    """Build options that say what the weights are, and how they lie."""
    if weight.format == "f16":
        return {"ALIGNED": aligned(segment, D)}
    return {"ALIGNED": 1} | block_defines(weight, segment)


def _gemv_group(runtime: Runtime, groups: int, weight_rows: int, tile_t: int) -> int:
    """Work-items of a group: as many as the device takes, its sums in local memory, of those asked
    for."""
    group = value(runtime.tuning, GEMV_GROUP)
    if not group:
        few = groups * GROUP < _ITEMS_PER_UNIT * runtime.compute_units and tile_t <= _WIDE_ROWS
        group = WIDE_GROUP if few and runtime.wide_groups else GROUP
    while group > runtime.most_items or 4 * (group + 8) * weight_rows * tile_t > _LOCAL_BYTES:
        group //= 2
    return group


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
