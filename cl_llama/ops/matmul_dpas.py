"""Products with weight matrices on the matrix engines of Intel's GPUs."""

from dataclasses import dataclass

import numpy as np

from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.opencl.tuning import Parameter, value
from cl_llama.ops.matmul_method import ARGUMENTS, Method, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

_ROWS, _TILE_D, _PACK_GROUP = 8, 32, 64
FILL = Parameter(
    "matmul.dpas.fill",
    "subgroups that there have to be of large tiles, in percent of the compute units",
    default=200,
    values=(50, 100, 200, 400),
    rows=(32, 128, 512),
)
PARAMETERS = (FILL,)


@dataclass(frozen=True)
class Tiles:
    """How a work-group divides its work.

    Attributes:
        n: fragments of 8 rows of weights a subgroup.
        t: fragments of as many rows of activations as a subgroup has items, a subgroup.
        groups_n: subgroups along the rows of weights.
        groups_t: subgroups along the rows of activations.
    """

    n: int
    t: int
    groups_n: int
    groups_t: int


SMALL = Tiles(2, 1, 4, 1)
LARGE = {
    (8, 1): Tiles(3, 2, 2, 4),
    (8, 2): Tiles(3, 1, 2, 4),
    (16, 1): Tiles(4, 2, 2, 4),
    (16, 2): Tiles(4, 1, 2, 4),
}
"""By items of a subgroup and parts of an activation: what 128 registers hold."""


@dataclass(frozen=True)
class GemmDpas(Method):
    """Rows of activations as float16 parts, in the order in which the engines take them.

    Attributes:
        subgroup: work-items of a subgroup, the fewest of the device: 8 or 16.
        parts: float16 numbers that stand for an activation: 1, or 2 for 22 of its bits.
        tiles: how a group divides its work; None chooses by the number of subgroups.
        emulated: whether plain OpenCL C takes the engines' place, for tests.
    """

    subgroup: int
    parts: int
    tiles: Tiles | None = None
    emulated: bool = False

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """Scaled rows in parts, float16, and their scales, as the kernel file describes."""
        T, D = x_TD.shape
        runtime = x_TD.runtime
        rows, columns = ceil_div(T, self.subgroup) * self.subgroup, ceil_div(D, _TILE_D) * _TILE_D
        shape = (rows * self.parts * columns + 2 * T,)
        packed = runtime.scratch("packed_halves", shape, np.float16)
        kernel = runtime.kernel("matmul_dpas.cl", "pack_halves", "bbuu", **self._defines(SMALL, 1))
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
        tiles = self.tiles or self._choose_tiles(runtime, T, N)
        whole = is_whole(segment, D) and tiles.n * _ROWS <= N
        if not whole and self.tiles is None:
            tiles = SMALL  # more registers are needed where columns are counted
        kernel = runtime.kernel(
            "matmul_dpas.cl", "matmul_dpas", ARGUMENTS + "u", **self._defines(tiles, whole)
        )
        threads = self.subgroup * tiles.groups_n * tiles.groups_t
        groups_n = ceil_div(N, _ROWS * tiles.n * tiles.groups_n)
        groups_t = ceil_div(T, self.subgroup * tiles.t * tiles.groups_t)
        values = arguments(x, segment, product)
        runtime.launch(kernel, (threads * groups_n, groups_t), (threads, 1), *values, *sizes, flags)

    def _choose_tiles(self, runtime: Runtime, T: int, N: int) -> Tiles:
        """Large ones if they are enough for every compute unit, and if the rows fill them."""
        tiles = LARGE[self.subgroup, self.parts]
        along_n, along_t = ceil_div(N, _ROWS * tiles.n), ceil_div(T, self.subgroup * tiles.t)
        enough = 100 * along_n * along_t >= value(runtime.tuning, FILL) * runtime.compute_units
        return tiles if enough and along_t >= tiles.groups_t else SMALL

    def _defines(self, tiles: Tiles, whole: int) -> dict[str, int]:
        return {
            "SUBGROUP": self.subgroup,
            "PARTS": self.parts,
            "MT": tiles.n,
            "NT": tiles.t,
            "GROUPS_N": tiles.groups_n,
            "GROUPS_T": tiles.groups_t,
            "WHOLE": int(whole),
            "EMULATE": int(self.emulated),
        }


def is_whole(segment: Segment, D: int) -> bool:
    """Whether rows of weights start at words and end with a tile, which block reads need."""
    return segment.offset % 2 == segment.row_stride % 2 == D % _TILE_D == 0
