"""Rotary positions and attention through block tables, against float64."""

from dataclasses import dataclass

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.ops.guarded import Guarded, assert_close

# float32 scores of about |q| |k| = 2 sqrt(K): errors of some 1e-6 in the exponent.
TOLERANCE = 2e-5


@dataclass(frozen=True)
class Case:
    """New tokens and first position of each sequence; heads, their width, window, scale, cap."""

    spans: tuple[tuple[int, int], ...]
    H: int = 4
    G: int = 2
    K: int = 16
    window: int | None = None
    scale: float | None = None
    softcap: float | None = None


CASES = [
    Case(((1, 0),)),
    Case(((1, 31),)),
    Case(((1, 32),), K=8),
    Case(((1, 200),), H=3, G=1, K=10),
    Case(((5, 0),), K=64),
    Case(((33, 0),), H=9, G=3, K=64),
    Case(((7, 60),), H=2, G=2, K=80),
    Case(((9, 30),), H=3, G=1, K=8, window=12),
    Case(((40, 30), (1, 5), (1, 64), (3, 0)), K=32),
    Case(((1, 100), (1, 0), (1, 33)), H=8, G=1, K=128),
    Case(((1, 90),), window=16),
    Case(((1, 63),), window=1),
    Case(((1, 63), (20, 7)), scale=0.05),
    Case(((50, 0),), window=20, K=48),
    Case(((9, 91), (1, 70)), H=6, G=2, window=33, K=64),
    Case(((20, 3),), H=2, G=1, K=256),
    Case(((90, 150), (70, 0)), H=8, G=2, K=64),
    Case(((130, 70),), H=2, G=1, window=40, K=32),
    # Contexts that the CPU family divides: one query head a key head, several, more than eight.
    Case(((1, 599),), H=2, G=2),
    Case(((1, 600), (1, 3), (2, 1030)), H=8, G=1, K=48),
    Case(((1, 520),), H=12, G=1),
    Case(((3, 1022),), H=6, G=2, K=10),
    Case(((1, 1100), (2, 700)), H=4, G=1, window=300),
    Case(((40, 3), (1, 640)), H=3, G=3, window=600, K=80),
    Case(((1, 270),), H=8, G=1, K=16, window=100),
    Case(((1, 130), (1, 40)), H=5, G=1, K=256),
    Case(((1, 520),), H=16, G=16, K=8),
    # Limited scores, of every kernel.
    Case(((20, 30), (1, 64), (3, 0)), K=32, scale=0.25, softcap=5.0),
    Case(((9, 91), (1, 200)), H=4, G=1, window=33, K=80, softcap=3.0),
]


# Every kernel of both families, odd widths and panels, windows, divided contexts.
Q8_0_CASES = [
    Case(((1, 200),), H=3, G=1, K=10),
    Case(((9, 91), (1, 70)), H=6, G=2, window=33, K=80),
    Case(((1, 600), (1, 3), (2, 1030)), H=8, G=1, K=48),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention(runtime: Runtime, family: Family, case: Case) -> None:
    check(runtime, family, case, "f16")


@pytest.mark.parametrize("case", Q8_0_CASES, ids=str)
def test_attention_by_q8_0(runtime: Runtime, family: Family, case: Case) -> None:
    check(runtime, family, case, "q8_0")


def check(runtime: Runtime, family: Family, case: Case, kv_type: ops.KVType) -> None:
    held, kept = (np.float16, np.asarray) if kv_type == "f16" else (np.float32, reference.q8_0)
    rng = np.random.default_rng(case.K * 101 + case.H)
    H, G, K = case.H, case.G, case.K
    T = sum(count for count, _ in case.spans)
    q_THK = (rng.standard_normal((T, H, K)) * 2).astype(np.float32)
    lengths = [count + position for count, position in case.spans]
    blocks_of = [-(-length // ops.BLOCK) for length in lengths]
    total = sum(blocks_of) + 3
    order = rng.permutation(total)
    # NaN everywhere that no sequence has written: reading it shows.
    keys = np.full((total, G, ops.BLOCK, K), np.nan, held)
    values = np.full_like(keys, np.nan)
    tables = np.full((len(lengths), max(blocks_of) + 1), -1, np.int32)
    expected, first_block, token = [], 0, 0
    for b, ((count, position), length) in enumerate(zip(case.spans, lengths, strict=True)):
        k_SGK = kept(rng.standard_normal((length, G, K)).astype(np.float16))
        v_SGK = kept(rng.standard_normal((length, G, K)).astype(np.float16))
        table = order[first_block : first_block + blocks_of[b]]
        first_block += blocks_of[b]
        tables[b, : len(table)] = table
        for s in range(length):
            keys[table[s // ops.BLOCK], :, s % ops.BLOCK] = k_SGK[s]
            values[table[s // ops.BLOCK], :, s % ops.BLOCK] = v_SGK[s]
        positions = np.arange(position, length)
        q = q_THK[token : token + count]
        limits = case.window, case.scale, case.softcap
        expected.append(reference.attention(q, k_SGK, v_SGK, positions, *limits))
        token += count
    plan = ops.plan_attention(
        runtime,
        case.spans,
        runtime.from_numpy(tables),
        n_heads=H,
        n_kv_heads=G,
        head_dim=K,
        family=family,
        kv_type=kv_type,
        capped=case.softcap is not None,
    )
    cache = ops.cache_from_numpy(runtime, keys, values, family=family, kv_type=kv_type)
    out = Guarded(runtime, np.full((T, H, K), np.nan, np.float32))
    q = runtime.from_numpy(q_THK)
    limits = {"window": case.window, "scale": case.scale, "softcap": case.softcap}
    ops.attention(q, cache, plan, out.array, **limits)
    assert_close(out.numpy(), np.concatenate(expected), TOLERANCE)


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize(
    ("K", "width"), [(2, None), (10, None), (64, None), (80, None), (10, 4), (64, 48)]
)
def test_rope_store(
    runtime: Runtime, family: Family, K: int, width: int | None, adjacent: bool
) -> None:
    rng = np.random.default_rng(K)
    T, H, G, blocks = 5, 6, 3, 4
    q_THK = rng.standard_normal((T, H, K)).astype(np.float32)
    k_TGK = rng.standard_normal((T, G, K)).astype(np.float32)
    v_TGK = rng.standard_normal((T, G, K)).astype(np.float32)
    angle = rng.uniform(-3, 3, (T, K // 2))
    angle[:, (width or K) // 2 :] = 0
    angles = np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)
    slots_T = np.array([0, 31, 32, 127, 70], np.int32)
    q = Guarded(runtime, q_THK)
    before = np.full((blocks, G, ops.BLOCK, K), 7.0, np.float16)
    plain = ops.cache_from_numpy(runtime, before, before, family=family)
    keys, values = (Guarded(runtime, part.numpy()) for part in (plain.keys, plain.values))
    cache = ops.KVCache(keys.array, values.array, family)
    ops.rope_store(
        q.array,
        runtime.from_numpy(k_TGK),
        runtime.from_numpy(v_TGK),
        runtime.from_numpy(angles),
        runtime.from_numpy(slots_T),
        cache,
        adjacent=adjacent,
        width=width,
    )
    pairing = "adjacent" if adjacent else "half"
    assert_close(q.numpy(), reference.rope(q_THK, angles, pairing, width), 1e-6)
    expected_k, expected_v = before.copy(), before.copy()
    rotated = reference.rope(k_TGK, angles, pairing, width)
    for t, slot in enumerate(slots_T):
        expected_k[slot // ops.BLOCK, :, slot % ops.BLOCK] = rotated[t]
        expected_v[slot // ops.BLOCK, :, slot % ops.BLOCK] = v_TGK[t]
    # One unit in f16's last place, where float32 and float64 round to different neighbours.
    found_k, found_v = cache.numpy()
    assert_close(found_k.astype(np.float64), expected_k.astype(np.float64), 1e-3)
    np.testing.assert_array_equal(found_v, expected_v)
    keys.numpy(), values.numpy()  # checks their bands


@pytest.mark.parametrize("adjacent", [False, True])
@pytest.mark.parametrize(("K", "width"), [(40, None), (64, 48)])
def test_rope_store_in_q8_0(
    runtime: Runtime, family: Family, K: int, width: int | None, adjacent: bool
) -> None:
    rng = np.random.default_rng(K)
    T, H, G, blocks = 5, 6, 3, 4
    q_THK = rng.standard_normal((T, H, K)).astype(np.float32)
    k_TGK, v_TGK = rng.standard_normal((2, T, G, K)).astype(np.float32)
    v_TGK[1, 0] = 0.0  # a scale of zero
    angle = rng.uniform(-3, 3, (T, K // 2))
    angle[:, (width or K) // 2 :] = 0
    angles = np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)
    slots_T = np.array([0, 31, 32, 127, 70], np.int32)
    q = Guarded(runtime, q_THK)
    before = np.full((blocks, G, ops.BLOCK, K), 7.0, np.float16)
    plain = ops.cache_from_numpy(runtime, before, before, family=family, kv_type="q8_0")
    keys, values = (Guarded(runtime, part.numpy()) for part in (plain.keys, plain.values))
    cache = ops.KVCache(keys.array, values.array, family, "q8_0")
    arrays = [runtime.from_numpy(array) for array in (k_TGK, v_TGK, angles, slots_T)]
    ops.rope_store(q.array, *arrays, cache, adjacent=adjacent, width=width)
    pairing = "adjacent" if adjacent else "half"
    assert_close(q.numpy(), reference.rope(q_THK, angles, pairing, width), 1e-6)
    expected_k, expected_v = (part.astype(np.float64) for part in plain.numpy())
    rotated = reference.rope(k_TGK, angles, pairing, width)
    for t, slot in enumerate(slots_T):
        expected_k[slot // ops.BLOCK, :, slot % ops.BLOCK] = reference.q8_0(rotated[t])
        expected_v[slot // ops.BLOCK, :, slot % ops.BLOCK] = reference.q8_0(v_TGK[t])
    for part, expected in zip((keys, values), (expected_k, expected_v), strict=True):
        part.numpy()  # checks its bands
        found = cache.numpy()[part is values]
        # A step of a byte, of numbers up to 4, where float32 and float64 round differently; rare.
        errors = np.abs(found - expected)
        assert errors.max() < 4 / 127
        assert np.mean(errors > 1e-3) < 2e-3
