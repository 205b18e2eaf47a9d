"""Attention of many new tokens on Intel AMX."""

from collections.abc import Sequence

from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.ops.matmul import Precision
from cl_llama.ops.shapes import ceil_div

_GROUP = 32
"""Rows that share a step of the kernel; head widths and panels of values are multiples, too."""
_MOST_ROWS, _MOST_QUERIES = 256, 32768
"""Most rows of a work-item, and most elements of their queries."""
_ITEMS_PER_UNIT = 4
"""Work-items that each core should have at least, so that the cores finish together."""


def suits(runtime: Runtime, head_dim: int) -> bool:
    """Whether the device has the unit, and the kernel takes heads of this width."""
    return runtime.matrix_unit == "amx" and head_dim % _GROUP == 0


def tile_rows(runtime: Runtime, row_counts: Sequence[int], n_kv_heads: int, head_dim: int) -> int:
    """Rows of a tile: as many as leave every core some tiles, for they share converted keys.

    Args:
        runtime: where the step runs.
        row_counts: for each sequence, its rows.
        n_kv_heads: G.
        head_dim: K.
    """
    rows = _most_rows(head_dim)
    wanted = _ITEMS_PER_UNIT * runtime.compute_units
    while rows > _GROUP and sum(ceil_div(r, rows) for r in row_counts) * n_kv_heads < wanted:
        rows = ceil_div(rows // 2, _GROUP) * _GROUP
    return rows


def attend_tiles(
    inputs: Sequence[DeviceArray],
    tiles: DeviceArray,
    out_THK: DeviceArray,
    window: int,
    scale: float,
    precision: Precision,
) -> None:
    """Queue the kernel for tiles of rows, int32 [tiles, 5], as it describes them.

    `ops.attention` says what is computed, and checks the shapes. inputs: q_THK f32, the CPU
    family's keys and values, block_tables_BW int32.
    """
    q_THK, keys, _, tables = inputs
    _, H, K = q_THK.shape
    G, block = keys.shape[1], keys.shape[3]
    runtime = q_THK.runtime
    kernel = runtime.kernel(
        "attention_amx.cl",
        "attention_amx",
        "bbbbbbuuuuf",
        PARTS=1 if precision == "fast" else 2,
        K=K,
        BLOCK=block,
        ROWS=_most_rows(K),
    )
    sizes = (H, G, tables.shape[1], window, scale)
    runtime.launch(kernel, (tiles.shape[0], G), (1, 1), *inputs, tiles, out_THK, *sizes)


def _most_rows(head_dim: int) -> int:
    return min(_MOST_ROWS, max(1, _MOST_QUERIES // head_dim // _GROUP) * _GROUP)
