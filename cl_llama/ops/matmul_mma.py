"""Products with weight matrices on NVIDIA's tensor cores."""

from dataclasses import dataclass

import numpy as np

from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.opencl.tuning import Parameter, value
from cl_llama.ops.matmul_method import ARGUMENTS, Method, Product, aligned, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

_TILE_D, _PACK_GROUP = 32, 64

FILL = Parameter(
    "matmul.mma.fill",
    "tiles that there have to be of a size, in percent of the compute units; else it is a smaller",
    default=100,
    values=(25, 50, 100, 200, 400),
    rows=(32, 128, 512),
)
PARAMETERS = (FILL,)


@dataclass(frozen=True)
class Tiles:
    """How a work-group divides its work.

    Attributes:
        t: rows of activations, a multiple of 16 a warp.
        n: rows of weights, a multiple of 16 a warp.
        warps_t: warps along t.
        warps_n: warps along n.
        stages: tiles in local memory, of 64 * (parts * t + n) bytes; a device of NVIDIA's has
            48 KiB.
    """

    t: int
    n: int
    warps_t: int
    warps_n: int
    stages: int


SMALL = {1: Tiles(32, 32, 1, 2, 6), 2: Tiles(32, 32, 1, 2, 6)}
MIDDLE = {1: Tiles(64, 64, 2, 2, 4), 2: Tiles(64, 64, 2, 2, 3)}
LARGE = {1: Tiles(128, 128, 2, 4, 3), 2: Tiles(128, 128, 4, 2, 2)}
"""By the parts of an activation: larger tiles read less, smaller ones keep a wide device busy."""


@dataclass(frozen=True)
class GemmMma(Method):
    """Rows of activations as float16 parts; tiles of both go through local memory.

    Attributes:
        parts: float16 numbers that stand for an activation: 1, or 2 for 22 of its bits.
        tiles: how a group divides its work; None chooses by the number of groups.
        emulated: whether plain OpenCL C takes the tensor cores' place, for tests.
    """

    parts: int
    tiles: Tiles | None = None
    emulated: bool = False

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """float16 [T, E]: scaled rows in parts, as the kernel file describes."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        shape = (T, self.parts * ceil_div(D, _TILE_D) * _TILE_D + 8)
        packed = runtime.scratch("packed_halves", shape, np.float16)
        kernel = runtime.kernel(
            "matmul_mma.cl", "pack_halves", "bbuu", **self._defines(SMALL[1], 1)
        )
        runtime.launch(kernel, (T * _PACK_GROUP,), (_PACK_GROUP,), x_TD, packed, T, D)
        return packed

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
        tiles = self.tiles or choose_tiles(runtime, self.parts, T, N)
        kernel = runtime.kernel(
            "matmul_mma.cl",
            "matmul_mma",
            ARGUMENTS + "u",
            **self._defines(tiles, aligned(segment, D)),
        )
        threads = 32 * tiles.warps_t * tiles.warps_n
        groups = (ceil_div(N, tiles.n), ceil_div(T, tiles.t))
        values = arguments(x, segment, product)
        items = (threads * groups[0], groups[1])
        runtime.launch(kernel, items, (threads, 1), *values, *sizes, flags)

    def _defines(self, tiles: Tiles, aligned: int) -> dict[str, int]:
        return {
            "PARTS": self.parts,
            "TILE_T": tiles.t,
            "TILE_N": tiles.n,
            "WARPS_T": tiles.warps_t,
            "WARPS_N": tiles.warps_n,
            "STAGES": tiles.stages,
            "ALIGNED": aligned,
            "EMULATE": int(self.emulated),
        }


def choose_tiles(runtime: Runtime, parts: int, T: int, N: int) -> Tiles:
    """The largest tiles of which there are enough to keep the compute units busy."""
    least = value(runtime.tuning, FILL) * runtime.compute_units
    for tiles in (LARGE[parts], MIDDLE[parts]):
        groups = ceil_div(N, tiles.n) * ceil_div(T, tiles.t)
        if 100 * groups >= least and tiles.t < 2 * T:
            return tiles
    return SMALL[parts]
