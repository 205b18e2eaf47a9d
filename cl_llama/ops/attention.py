"""Rotary positions and attention over the paged key/value cache."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl.profile import Work
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.opencl.tuning import value
from cl_llama.ops import attention_amx, attention_mma, attention_portable
from cl_llama.ops import attention_parameters as tunable
from cl_llama.ops.attention_cache import (
    BLOCK,
    KVCache,
    KVType,
    cache_bytes,
    cache_defines,
    panel,
    unit_shape,
)
from cl_llama.ops.attention_portable import Limits, PortablePlan
from cl_llama.ops.matmul import Precision
from cl_llama.ops.shapes import ceil_div, expect

_GROUP = 64
_FEW_ROWS = 32
"""The CPU family divides the context of one new token; of so many rows if a token has four."""


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """Which queries meet which keys in a step; the same for all layers.

    Attributes:
        tile_spans: sequences of `tiles`, the number of new tokens and the position of the first.
        few_spans: the same of the other sequences, those with few new tokens.
        block_tables_BW: int32 [B, W], the physical blocks of each sequence in order of position.
        tiles: int32 [tiles, 5], as the kernels describe them: several rows of a sequence each.
        items: int32 [items, 9], chunks of the context of sequences with few new tokens.
        item_rows: most rows of an item.
        merges: int32 [merges, 3], tokens whose context is in several chunks.
        partials: chunks of the tokens of `merges`.
        kv_type: of the cache it is for; only kernels without matrix units take Q8_0.
        by_unit: the tiles are for a matrix unit.
        portable: the plan for the portable family, which has none of the other pieces of work.
    """

    tile_spans: tuple[tuple[int, int], ...]
    few_spans: tuple[tuple[int, int], ...]
    block_tables_BW: DeviceArray
    tiles: DeviceArray | None
    items: DeviceArray | None
    item_rows: int
    merges: DeviceArray | None
    partials: int
    kv_type: KVType = "f16"
    by_unit: bool = False
    portable: PortablePlan | None = None

    @property
    def family(self) -> Family:
        """Whose kernels it is for."""
        return "cpu" if self.portable is None else "portable"


def plan_attention(
    runtime: Runtime,
    spans: Sequence[tuple[int, int]],
    block_tables_BW: DeviceArray,
    *,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    family: Family | None = None,
    kv_type: KVType = "f16",
    capped: bool = False,
    upload: Callable[[NDArray[np.int32]], DeviceArray] | None = None,
) -> AttentionPlan:
    """Divide a step's queries, and long contexts of few queries, into pieces of work.

    Args:
        runtime: where the step runs.
        spans: for each sequence, in the order of its tokens in the batch, the number of its new
            tokens and the position of the first.
        block_tables_BW: int32 [B, W].
        n_heads: query heads, H.
        n_kv_heads: key heads, G; H is a multiple of G.
        head_dim: K.
        family: the kernels to plan for; None is the device's.
        kv_type: what the cache holds.
        capped: scores will be limited, which matrix units' kernels do not do.
        upload: brings the plan's arrays to the device; None is `runtime.from_numpy`.
    """
    upload = upload or runtime.from_numpy
    heads = n_heads // n_kv_heads
    is_portable = (family or runtime.family) == "portable"
    unit = attention_mma if is_portable else attention_amx
    by_unit = kv_type == "f16" and not capped and unit.suits(runtime, head_dim)
    if is_portable:
        return AttentionPlan(
            tile_spans=tuple(span for span in spans if span[0] > 1),
            few_spans=tuple(span for span in spans if span[0] == 1),
            block_tables_BW=block_tables_BW,
            tiles=None,
            items=None,
            item_rows=0,
            merges=None,
            partials=0,
            kv_type=kv_type,
            by_unit=by_unit,
            portable=attention_portable.plan(
                *(runtime, spans, heads, n_kv_heads, head_dim, upload),
                attention_mma.ROWS if by_unit else None,
            ),
        )
    tuning = runtime.tuning
    item_rows = ceil_div(heads, ceil_div(heads, value(tuning, tunable.ITEM_ROWS)))
    tile_rows = value(tuning, tunable.TILE_ROWS)
    few_tokens = max(1, _FEW_ROWS // heads) if heads >= 4 else 1
    few = [span for span in spans if span[0] <= few_tokens]
    # Several items a core, so that the cores finish together.
    wanted = value(tuning, tunable.ITEMS_PER_UNIT) * runtime.compute_units
    divisions = ceil_div(wanted, n_kv_heads * max(1, len(few)))
    least_chunk = value(tuning, tunable.LEAST_CHUNK)
    if by_unit:
        rows_each = [count * heads for count, _ in spans if count > few_tokens]
        tile_rows = attention_amx.tile_rows(runtime, rows_each, n_kv_heads, head_dim)
    tiles, items, merges = [], [], []
    token = partials = 0
    for sequence, (count, position) in enumerate(spans):
        rows = count * heads
        if count <= few_tokens:
            chunks = _chunks(position + count, divisions, least_chunk)
            partial = partials if len(chunks) > 1 else -1
            if partial >= 0:
                n = len(chunks)
                merges += [(token + i, partial + i * n, n) for i in range(count)]
                partials += count * n
            items += [
                (
                    *(token, position, sequence, row, min(item_rows, rows - row), begin, end),
                    *(partial + i if partial >= 0 else -1, len(chunks)),
                )
                for i, (begin, end) in enumerate(chunks)
                for row in range(0, rows, item_rows)
            ]
        else:
            tiles += [
                (token, position, sequence, row, min(tile_rows, rows - row))
                for row in range(0, rows, tile_rows)
            ]
        token += count
    # The last tiles meet most keys: they start first.
    uploaded = [
        upload(np.array(t, dtype=np.int32)) if t else None for t in (tiles[::-1], items, merges)
    ]
    return AttentionPlan(
        tile_spans=tuple(span for span in spans if span[0] > few_tokens),
        few_spans=tuple(few),
        block_tables_BW=block_tables_BW,
        tiles=uploaded[0],
        items=uploaded[1],
        item_rows=item_rows,
        merges=uploaded[2],
        partials=partials,
        kv_type=kv_type,
        by_unit=by_unit,
    )


def _chunks(length: int, divisions: int, least: int) -> list[tuple[int, int]]:
    """Begin and end of `divisions` equal chunks of a context, fewer if they had less than `least`
    positions."""
    wanted = max(1, min(divisions, length // least))
    size = ceil_div(ceil_div(length, wanted), BLOCK) * BLOCK
    return [(begin, min(begin + size, length)) for begin in range(0, length, size)]


def rope_store(
    q_THK: DeviceArray,
    k_TGK: DeviceArray,
    v_TGK: DeviceArray,
    angles: DeviceArray,
    slots_T: DeviceArray,
    cache: KVCache,
    *,
    adjacent: bool,
    width: int | None = None,
) -> None:
    """Rotate q in place, rotate k, and store k and v in the cache (Su et al., 2021).

    Args:
        q_THK: f32 [T, H, K].
        k_TGK: f32 [T, G, K].
        v_TGK: f32 [T, G, K].
        angles: f32 [T, K / 2, 2], cosine and sine of each pair's angle, 1 and 0 where it stays.
        slots_T: int32 [T], physical block * BLOCK + position in the block.
        cache: the layer's cache; its family is the kernel's.
        adjacent: pairs are (2i, 2i + 1), as Meta stores them, or (i, i + width / 2).
        width: channels of a head that rotate, the first ones; None is K.

    Raises:
        ValueError: shapes that do not fit.
    """
    runtime = q_THK.runtime
    T, H, K = q_THK.shape
    G = k_TGK.shape[1]
    expect("rope_store", "k_TGK", k_TGK, (T, G, K))
    expect("rope_store", "v_TGK", v_TGK, (T, G, K))
    expect("rope_store", "angles", angles, (T, K // 2, 2))
    expect("rope_store", "slots_T", slots_T, (T,))
    cpu = cache.family == "cpu"
    kernel = runtime.kernel(
        "rope_store_cpu.cl" if cpu else "rope_store.cl",
        "rope_store",
        "bbbbbbbuu",
        K=K,
        BLOCK=BLOCK,
        ADJACENT=int(adjacent),
        ROTARY=width or K,
        **({"PANEL": panel(K)} if cpu else {}),
        **cache_defines(cache.kv_type),
    )
    items = K // 2 * (H + 2 * G)
    if cache.kv_type == "q8_0":
        items = K // 2 * H + 2 * G * ceil_div(K, 32)
    runtime.launch(
        kernel,
        (T,) if cpu else (ceil_div(items, _GROUP) * _GROUP, T),
        (1,) if cpu else (_GROUP, 1),
        q_THK,
        k_TGK,
        v_TGK,
        angles,
        slots_T,
        cache.keys,
        cache.values,
        H,
        G,
    )


def attention(
    q_THK: DeviceArray,
    cache: KVCache,
    plan: AttentionPlan,
    out_THK: DeviceArray,
    *,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    precision: Precision = "high",
) -> None:
    """Causal grouped-query attention of new tokens over their sequences' cached positions.

    out[t, h] = softmax over s of (q[t, h] . k[s, g] * scale) times v[s, g] with g = h / (H / G);
    scale is 1 / sqrt(K) where none is given. The token at position p sees s <= p, and s > p -
    window where a window is given. With `softcap` a score s becomes softcap * tanh(s / softcap),
    before what is not seen is left out; the plan has to be made for it. q and out are f32 and
    different arrays; nothing of size T x S is stored. Under "fast", matrix units take queries,
    keys, weights and values in one pass.

    Raises:
        ValueError: shapes that do not fit.
    """
    T, H, K = q_THK.shape
    blocks, G = cache.keys.shape[:2]
    expect("attention", "out_THK", out_THK, (T, H, K))
    unit = unit_shape(cache.family, "keys", K, cache.kv_type)
    expect("attention", "cache", cache.keys, (blocks, G, *unit))
    if (cache.family, cache.kv_type) != (plan.family, plan.kv_type):
        raise ValueError(
            f"attention: cache for {cache.family} kernels in {cache.kv_type}, plan for "
            f"{plan.family} kernels and {plan.kv_type}"
        )
    if softcap is not None and plan.by_unit:
        raise ValueError("attention: scores are limited, and the plan is for a matrix unit")
    runtime = q_THK.runtime
    limits = Limits(window or 0, K**-0.5 if scale is None else scale, softcap)

    def announce(spans: Sequence[tuple[int, int]]) -> None:
        if runtime.profiles:
            runtime.announce(_work(spans, H, G, K, window, cache.kv_type))

    def launch(
        filename: str,
        name: str,
        items: tuple[int, ...],
        local: tuple[int, ...],
        work: DeviceArray,
        *outputs: DeviceArray,
        **defines: int,
    ) -> None:
        kernel = runtime.kernel(
            filename,
            name,
            "bbbbb" + "b" * len(outputs) + "uuuuff",
            K=K,
            BLOCK=BLOCK,
            PANEL=panel(K),
            **defines,
            **cache_defines(cache.kv_type),
            **limits.defines,
        )
        runtime.launch(
            kernel,
            items,
            local,
            q_THK,
            cache.keys,
            cache.values,
            plan.block_tables_BW,
            work,
            *outputs,
            H,
            G,
            plan.block_tables_BW.shape[1],
            *limits.arguments,
        )

    inputs = (q_THK, cache.keys, cache.values, plan.block_tables_BW)
    if plan.portable is not None:
        if plan.portable.tiles is not None:
            announce(plan.tile_spans)
            tiles = plan.portable.tiles
            if plan.by_unit:
                attention_mma.attend_tiles(
                    inputs, tiles, out_THK, limits.window, limits.scale, precision
                )
            else:
                attention_portable.attend_tiles(inputs, cache.kv_type, tiles, out_THK, limits)
        if plan.portable.chunks is not None:
            announce(plan.few_spans)
            attention_portable.attend_chunks(inputs, cache.kv_type, plan.portable, out_THK, limits)
    if plan.tiles is not None:
        announce(plan.tile_spans)
        if plan.by_unit:
            attention_amx.attend_tiles(
                inputs, plan.tiles, out_THK, limits.window, limits.scale, precision
            )
        else:
            items = (plan.tiles.shape[0], G)
            launch(
                *("attention_cpu.cl", "attention", items, (1, 1), plan.tiles, out_THK),
                ROWS=value(runtime.tuning, tunable.TILE_ROWS),
                STEP=value(runtime.tuning, tunable.STEP),
            )
    if plan.items is not None:
        announce(plan.few_spans)
        partials = runtime.scratch("attention", (max(1, plan.partials), H, K + 2), np.float32)
        launch(
            *("attention_decode_cpu.cl", "attention_decode", (plan.items.shape[0], G), (1, 1)),
            *(plan.items, out_THK, partials),
            ROWS=plan.item_rows,
            SPAN=value(runtime.tuning, tunable.SPAN),
        )
        if plan.merges is not None:
            kernel = runtime.kernel("attention_merge_cpu.cl", "attention_merge", "bbbu", K=K)
            merges = plan.merges
            runtime.launch(kernel, (merges.shape[0], H), (1, 1), partials, merges, out_THK, H)


def _work(
    spans: Sequence[tuple[int, int]], H: int, G: int, K: int, window: int | None, kv_type: KVType
) -> Work:
    """The attention of one layer: each sequence's keys and values once, queries and output once."""
    pairs = keys = tokens = 0
    for count, position in spans:
        ends = np.arange(position + 1, position + count + 1)
        pairs += int(ends.sum() if window is None else np.minimum(ends, window).sum())
        first = 0 if window is None else max(0, position + 1 - window)
        keys += position + count - first
        tokens += count
    nbytes = keys * 2 * cache_bytes(G, K, kv_type) // BLOCK + tokens * H * K * 8
    return Work(f"{tokens} tokens", nbytes, pairs * H * K * 4)
