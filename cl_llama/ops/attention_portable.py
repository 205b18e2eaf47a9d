"""Attention on many-core devices: how a step is divided, and its kernels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.opencl.tuning import value
from cl_llama.ops import attention_parameters as tunable
from cl_llama.ops.attention_cache import BLOCK, KVType, cache_defines
from cl_llama.ops.shapes import ceil_div


@dataclass(frozen=True)
class Limits:
    """What of a context a layer's queries see, and what becomes of their scores.

    Attributes:
        window: positions that a token sees; 0: all.
        scale: times a query's product with a key.
        softcap: scores s become softcap * tanh(s / softcap); None: they stay.
    """

    window: int
    scale: float
    softcap: float | None

    @property
    def arguments(self) -> tuple[int, float, float]:
        """Of the kernels."""
        return self.window, self.scale, self.softcap or 0.0

    @property
    def defines(self) -> dict[str, int]:
        """Build options."""
        return {} if self.softcap is None else {"SOFTCAP": 1}


Inputs = tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray]
"""q_THK f32, the cache's keys and values, block_tables_BW int32."""

_GROUP = 64
_NARROW = 128
"""Wider heads take half of the rows, keys and heads, for 32 KiB of local memory."""
_CHUNKS = (256, 128, 64)
"""Positions of a chunk of context, multiples of the cache's blocks; the kernel's limit first."""


@dataclass(frozen=True, eq=False)
class PortablePlan:
    """Which queries meet which keys in a step.

    Attributes:
        tiles: int32 [tiles, 5], several rows of a sequence each, as attention_prefill.cl has them.
        chunks: int32 [chunks, 5], parts of the context of sequences with one new token, as
            attention_decode.cl has them.
        spans: int32 [tokens, 3], the chunks of each of these, as attention_merge.cl has them;
            None where every context is one chunk.
    """

    tiles: DeviceArray | None
    chunks: DeviceArray | None
    spans: DeviceArray | None


def plan(
    runtime: Runtime,
    spans: Sequence[tuple[int, int]],
    heads_per_kv: int,
    n_kv_heads: int,
    head_dim: int,
    upload: Callable[[NDArray[np.int32]], DeviceArray],
    tile_rows: int | None = None,
) -> PortablePlan:
    """Divide a step's queries into tiles, and the contexts of single ones into chunks.

    Args:
        runtime: where the step runs.
        spans: for each sequence the number of its new tokens and the position of the first.
        heads_per_kv: H / G.
        n_kv_heads: G.
        head_dim: K.
        upload: brings the plan's arrays to the device.
        tile_rows: most rows of a tile; None is as many as `attend_tiles` takes.
    """
    tiles: list[tuple[int, ...]] = []
    singles: list[tuple[int, int, int]] = []
    token, most = 0, tile_rows or _rows(runtime, head_dim)
    for sequence, (count, position) in enumerate(spans):
        rows = count * heads_per_kv
        if count == 1:
            singles.append((token, position, sequence))
        else:
            tiles += [
                (token, position, sequence, row, min(most, rows - row))
                for row in range(0, rows, most)
            ]
        token += count
    heads = _heads(runtime, heads_per_kv, head_dim)
    groups_per_chunk = n_kv_heads * ceil_div(heads_per_kv, heads)
    groups = value(runtime.tuning, tunable.GROUPS_PER_UNIT) * runtime.compute_units
    wanted = ceil_div(groups, groups_per_chunk)
    size = next(
        (c for c in _CHUNKS if sum(p // c + 1 for _, p, _ in singles) >= wanted), _CHUNKS[-1]
    )
    chunks: list[tuple[int, ...]] = []
    parts = []
    for token, position, sequence in singles:
        starts = range(0, position + 1, size)
        parts.append((token, len(chunks), len(starts)))
        chunks += [(token, position, sequence, s, min(size, position + 1 - s)) for s in starts]
    several = len(chunks) > len(singles)
    arrays = [
        upload(np.array(rows, dtype=np.int32)) if rows else None
        for rows in (tiles, chunks, parts if several else None)
    ]
    return PortablePlan(*arrays)


def attend_tiles(
    inputs: Inputs,
    kv_type: KVType,
    tiles: DeviceArray,
    out_THK: DeviceArray,
    limits: Limits,
) -> None:
    """Queue the kernel for sequences with several new tokens.

    `ops.attention` says what is computed, and checks the shapes.
    """
    runtime, G, K, sizes = _sizes(inputs, limits)
    kernel = runtime.kernel(
        "attention_prefill.cl",
        "attention_prefill",
        "bbbbbbuuuuff",
        K=K,
        BLOCK=BLOCK,
        ROWS=_rows(runtime, K),
        KEYS=_narrowed(value(runtime.tuning, tunable.PORTABLE_TILE_KEYS), K),
        **cache_defines(kv_type),
        **limits.defines,
    )
    items = (tiles.shape[0] * _GROUP, G)
    runtime.launch(kernel, items, (_GROUP, 1), *inputs, tiles, out_THK, *sizes)


def attend_chunks(
    inputs: Inputs,
    kv_type: KVType,
    plan: PortablePlan,
    out_THK: DeviceArray,
    limits: Limits,
) -> None:
    """Queue the kernels for sequences with one new token."""
    assert plan.chunks is not None
    runtime, G, K, sizes = _sizes(inputs, limits)
    H = sizes[0]
    chunks, heads = plan.chunks.shape[0], _heads(runtime, H // G, K)
    group = value(runtime.tuning, tunable.CHUNK_GROUP)
    group = group if group <= runtime.most_items else _GROUP
    kernel = runtime.kernel(
        "attention_decode.cl",
        "attention_decode",
        "bbbbbbuuuuffu",
        K=K,
        BLOCK=BLOCK,
        HEADS=heads,
        CHUNK=_CHUNKS[0],
        GROUP=group,
        **cache_defines(kv_type),
        **limits.defines,
    )
    items = (group * G * ceil_div(H // G, heads), chunks)
    if plan.spans is None:
        runtime.launch(kernel, items, (group, 1), *inputs, plan.chunks, out_THK, *sizes, 0)
        return
    parts = runtime.scratch("attention", (chunks, H, K + 2), np.float32)
    runtime.launch(kernel, items, (group, 1), *inputs, plan.chunks, parts, *sizes, 1)
    merge = runtime.kernel("attention_merge.cl", "attention_merge", "bbbu", K=K, GROUP=_GROUP)
    items = (_GROUP * H, plan.spans.shape[0])
    runtime.launch(merge, items, (_GROUP, 1), parts, plan.spans, out_THK, H)


def _sizes(
    inputs: Inputs, limits: Limits
) -> tuple[Runtime, int, int, tuple[int, int, int, int, float, float]]:
    """The runtime, G, K, and the last arguments of the kernels."""
    q_THK, keys, _, tables = inputs
    _, H, K = q_THK.shape
    G = keys.shape[1]
    return q_THK.runtime, G, K, (H, G, tables.shape[1], *limits.arguments)


def _rows(runtime: Runtime, head_dim: int) -> int:
    """Most rows, pairs of a token and one of the heads that share a key head, of a tile."""
    return _narrowed(value(runtime.tuning, tunable.PORTABLE_TILE_ROWS), head_dim)


def _heads(runtime: Runtime, heads_per_kv: int, head_dim: int) -> int:
    """Query heads that a work-group of attention_decode.cl has."""
    most = _narrowed(value(runtime.tuning, tunable.CHUNK_HEADS), head_dim)
    return min(most, 1 << (heads_per_kv - 1).bit_length())


def _narrowed(count: int, head_dim: int) -> int:
    return count if head_dim <= _NARROW else count // 2
