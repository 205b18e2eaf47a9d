"""Rotary positions and attention over the paged key/value cache."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cl_llama.opencl.profile import Work
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.ops.shapes import ceil_div, expect

BLOCK = 32
"""Positions in a block of the cache; the CPU family's kernel is written for 32."""
_GROUP = 64
_ROWS: dict[Family, int] = {"cpu": 32, "portable": 16}
"""Most rows, pairs of a token and one of the query heads that share a key head, of a tile."""


@dataclass(frozen=True, eq=False)
class KVCache:
    """One layer's keys and values: f16 [blocks, G, BLOCK, K] each."""

    keys: DeviceArray
    values: DeviceArray


def allocate_cache(runtime: Runtime, blocks: int, n_kv_heads: int, head_dim: int) -> KVCache:
    """A layer's cache of `blocks` blocks, contents undefined."""
    shape = (blocks, n_kv_heads, BLOCK, head_dim)
    return KVCache(runtime.empty(shape, np.float16), runtime.empty(shape, np.float16))


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """Which queries meet which keys in a step; the same for all layers.

    Attributes:
        block_tables_BW: int32 [B, W], the physical blocks of each sequence in order of position.
        tiles: int32 [tiles, 5], as the kernels describe them: several rows of a sequence each.
        single_tiles: int32 [tiles, 5], sequences with one new token (portable family only).
        spans: each sequence's number of new tokens and the position of the first.
    """

    block_tables_BW: DeviceArray
    tiles: DeviceArray | None
    single_tiles: DeviceArray | None
    spans: tuple[tuple[int, int], ...]
    family: Family


def plan_attention(
    runtime: Runtime,
    spans: Sequence[tuple[int, int]],
    block_tables_BW: DeviceArray,
    heads_per_kv: int,
    *,
    family: Family | None = None,
) -> AttentionPlan:
    """Divide a step's queries into tiles.

    Args:
        runtime: where the step runs.
        spans: for each sequence, in the order of its tokens in the batch, the number of its new
            tokens and the position of the first.
        block_tables_BW: int32 [B, W].
        heads_per_kv: query heads that share a key head, H / G.
        family: the kernels to plan for; None is the device's.
    """
    family = family or runtime.family
    tiles, singles = [], []
    token = 0
    for sequence, (count, position) in enumerate(spans):
        rows = count * heads_per_kv
        if count == 1 and family == "portable":
            singles.append((token, position, sequence, 0, rows))
        else:
            tiles += [
                (token, position, sequence, row, min(_ROWS[family], rows - row))
                for row in range(0, rows, _ROWS[family])
            ]
        token += count
    upload = [
        runtime.from_numpy(np.array(t, dtype=np.int32)) if t else None for t in (tiles, singles)
    ]
    return AttentionPlan(block_tables_BW, upload[0], upload[1], tuple(spans), family)


def rope_store(
    q_THK: DeviceArray,
    k_TGK: DeviceArray,
    v_TGK: DeviceArray,
    angles: DeviceArray,
    slots_T: DeviceArray,
    cache: KVCache,
    *,
    adjacent: bool,
    family: Family | None = None,
) -> None:
    """Rotate q in place, rotate k, and store k and v in the cache as f16 (Su et al., 2021).

    Args:
        q_THK: f32 [T, H, K].
        k_TGK: f32 [T, G, K].
        v_TGK: f32 [T, G, K].
        angles: f32 [T, K / 2, 2], cosine and sine of each pair's angle.
        slots_T: int32 [T], physical block * BLOCK + position in the block.
        cache: the layer's cache.
        adjacent: pairs are (2i, 2i + 1), as Meta stores them, or (i, i + K / 2).
        family: None is the device's.

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
    cpu = (family or runtime.family) == "cpu"
    kernel = runtime.kernel(
        "rope_store_cpu.cl" if cpu else "rope_store.cl",
        "rope_store",
        "bbbbbbbuu",
        K=K,
        BLOCK=BLOCK,
        ADJACENT=int(adjacent),
    )
    pairs = K // 2 * (H + 2 * G)
    runtime.launch(
        kernel,
        (T,) if cpu else (ceil_div(pairs, _GROUP) * _GROUP, T),
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
) -> None:
    """Causal grouped-query attention of new tokens over their sequences' cached positions.

    out[t, h] = softmax over s of (q[t, h] . k[s, g] / sqrt(K)) times v[s, g] with g = h / (H / G);
    the token at position p sees s <= p, and s > p - window where a window is given. q and out are
    f32 and different arrays; nothing of size T x S is stored.

    Raises:
        ValueError: shapes that do not fit.
    """
    T, H, K = q_THK.shape
    G = cache.keys.shape[1]
    expect("attention", "out_THK", out_THK, (T, H, K))
    expect("attention", "cache", cache.keys, (cache.keys.shape[0], G, BLOCK, K))
    runtime = q_THK.runtime
    if runtime.profiles:
        runtime.announce(_work(plan.spans, H, G, K, window))
    if plan.family == "cpu":
        forms = [("attention_cpu.cl", "attention", plan.tiles)]
    else:
        forms = [
            ("attention_prefill.cl", "attention_prefill", plan.tiles),
            ("attention_decode.cl", "attention_decode", plan.single_tiles),
        ]
    for filename, name, tiles in forms:
        if tiles is None:
            continue
        count = tiles.shape[0]
        defines = {"K": K, "BLOCK": BLOCK}
        items, local = {
            "attention": ((count, G), (1, 1)),
            "attention_prefill": ((count * _GROUP, G), (_GROUP, 1)),
            "attention_decode": ((_GROUP * H, count), (_GROUP, 1)),
        }[name]
        if name == "attention":
            defines["ROWS"] = _ROWS["cpu"]
        elif name == "attention_prefill":
            defines["KEYS"] = 16 if K <= 128 else 8  # two tiles in 32 KiB of local memory
        runtime.launch(
            runtime.kernel(filename, name, "bbbbbbuuuuf", **defines),
            items,
            local,
            q_THK,
            cache.keys,
            cache.values,
            plan.block_tables_BW,
            tiles,
            out_THK,
            H,
            G,
            plan.block_tables_BW.shape[1],
            window or 0,
            K**-0.5,
        )


def _work(spans: Sequence[tuple[int, int]], H: int, G: int, K: int, window: int | None) -> Work:
    """The attention of one layer: each sequence's keys and values once, queries and output once."""
    pairs = keys = tokens = 0
    for count, position in spans:
        ends = np.arange(position + 1, position + count + 1)
        pairs += int(ends.sum() if window is None else np.minimum(ends, window).sum())
        first = 0 if window is None else max(0, position + 1 - window)
        keys += position + count - first
        tokens += count
    return Work(f"{tokens} tokens", keys * G * K * 4 + tokens * H * K * 8, pairs * H * K * 4)
