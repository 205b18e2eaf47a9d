"""Products with weight matrices on many-core devices."""

from cl_llama.opencl.runtime import DeviceArray
from cl_llama.ops.matmul_method import ARGUMENTS, Product, arguments
from cl_llama.ops.shapes import ceil_div
from cl_llama.ops.weight import Segment

_GROUP = 64
_GEMV_TILE_T = 4
_GEMM_TILE, _GEMM_ITEMS = 32, 8


class Gemv:
    """A few rows of activations: a work-group reduces a row of weights."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """The activations as they are."""
        return x_TD

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernel."""
        T, N, _ = sizes
        tiles = {"GROUP": _GROUP, "TILE_T": 1 if T == 1 else _GEMV_TILE_T}
        kernel = x.runtime.kernel("matmul_gemv.cl", "matmul_gemv", ARGUMENTS + "u", **tiles)
        values = arguments(x, segment, product)
        x.runtime.launch(kernel, (N * _GROUP,), (_GROUP,), *values, *sizes, flags)


class Gemm:
    """Many rows of activations: work-groups share tiles of both through local memory."""

    def prepare(self, x_TD: DeviceArray) -> DeviceArray:
        """The activations as they are."""
        return x_TD

    def launch(
        self,
        x: DeviceArray,
        segment: Segment,
        product: Product,
        sizes: tuple[int, int, int],
        flags: int,
    ) -> None:
        """Queue the kernel."""
        T, N, _ = sizes
        kernel = x.runtime.kernel("matmul_gemm.cl", "matmul_gemm", ARGUMENTS + "u")
        items = tuple(_GEMM_ITEMS * ceil_div(size, _GEMM_TILE) for size in (N, T))
        local = (_GEMM_ITEMS, _GEMM_ITEMS)
        x.runtime.launch(kernel, items, local, *arguments(x, segment, product), *sizes, flags)
