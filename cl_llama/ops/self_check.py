"""A quick check of the main operations on a device against NumPy, for people whose driver is new.

The shapes are small and odd, so that the kernels' edges are met; the inputs are always the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import dequantize, quantize
from cl_llama.errors import ClLlamaError
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops.attention import attention, plan_attention, rope_store
from cl_llama.ops.attention_cache import BLOCK, cache_from_numpy
from cl_llama.ops.elementwise import embedding, rmsnorm, swiglu
from cl_llama.ops.matmul import Precision, matmul
from cl_llama.ops.selection import argmax, softmax, top_k
from cl_llama.ops.weight import Segment, Weight, upload_matrix

_Arrays = tuple[NDArray[Any], NDArray[Any]]
"""What the device computed, and what NumPy did."""


@dataclass(frozen=True)
class Outcome:
    """How an operation did: the reason why it failed, empty if it is right."""

    operation: str
    failure: str


def self_check(runtime: Runtime) -> Iterator[Outcome]:
    """Run every check; a kernel that does not build, or a failed command, is a failure too."""
    for name, (check, tolerance) in _CHECKS.items():
        try:
            got, expected = check(runtime)
            failure = _difference(got, expected, tolerance)
        except ClLlamaError as error:
            failure = str(error).strip()
        yield Outcome(name, failure)


def _difference(got: NDArray[Any], expected: NDArray[Any], tolerance: float) -> str:
    """What is wrong with a result: its largest error, relative to the RMS of what is expected."""
    errors = np.abs(got.astype(np.float64) - expected)
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64)))) or 1.0
    largest = float(np.max(errors)) / scale  # NaN if any error is
    if largest <= tolerance:
        return ""
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(errors)), errors.shape))
    return (
        f"at {at} it is {got[at]:.6g}, NumPy has {expected[at]:.6g}: an error of {largest:.1e} "
        f"of the RMS, {tolerance:.0e} is allowed"
    )


def _random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _weight(runtime: Runtime, w_ND: NDArray[np.float16]) -> Weight:
    rows, columns = w_ND.shape
    segment = Segment(runtime.from_numpy(w_ND).buffer, 0, columns, 0, rows)
    return Weight(runtime, (segment,), rows, columns)


def _matmul(T: int, precision: Precision) -> Callable[[Runtime], _Arrays]:
    def check(runtime: Runtime) -> _Arrays:
        x_TD, bias_N, before_TN = _random(1, T, 301), _random(2, 77), _random(3, T, 77)
        w_ND = _random(4, 77, 301).astype(np.float16)
        out = runtime.from_numpy(before_TN)
        weight, bias = _weight(runtime, w_ND), runtime.from_numpy(bias_N)
        x = runtime.from_numpy(x_TD)
        matmul(x, weight, out, bias, accumulate=True, precision=precision)
        return out.numpy(), x_TD.astype(np.float64) @ w_ND.astype(np.float64).T + bias_N + before_TN

    return check


@dataclass(frozen=True)
class _Rows:
    """A matrix as checkpoints give it."""

    values: NDArray[np.float32]
    name = "the check's weights"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read_rows(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.values[start:stop]

    def release(self) -> None:
        """There is nothing to drop."""


def _matmul_blocks(format: str, T: int, precision: Precision) -> Callable[[Runtime], _Arrays]:
    def check(runtime: Runtime) -> _Arrays:
        x_TD, w_ND = _random(20, T, 512), _random(21, 77, 512)
        out = runtime.empty((T, 77), np.float32)
        weight = upload_matrix(runtime, _Rows(w_ND), quantize=format)
        matmul(runtime.from_numpy(x_TD), weight, out, precision=precision)
        stored = dequantize(format, quantize(format, w_ND))
        return out.numpy(), x_TD.astype(np.float64) @ stored.astype(np.float64).T

    return check


def _embedding(runtime: Runtime) -> _Arrays:
    w_VD = _random(5, 23, 100).astype(np.float16)
    ids_T = np.array([0, 22, 7, 7], np.int32)
    out = runtime.empty((4, 100), np.float32)
    embedding(runtime.from_numpy(ids_T), _weight(runtime, w_VD), out)
    return out.numpy(), w_VD[ids_T]


def _rmsnorm(runtime: Runtime) -> _Arrays:
    x_TD, w_D = _random(6, 3, 1031), _random(7, 1031)
    out = runtime.empty(x_TD.shape, np.float32)
    rmsnorm(runtime.from_numpy(x_TD), runtime.from_numpy(w_D), 1e-5, out)
    x = x_TD.astype(np.float64)
    return out.numpy(), x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-5) * w_D


def _swiglu(runtime: Runtime) -> _Arrays:
    gate_TF, up_TF = _random(8, 3, 1031), _random(9, 3, 1031)
    gate = runtime.from_numpy(gate_TF)
    swiglu(gate, runtime.from_numpy(up_TF))
    x = gate_TF.astype(np.float64)
    return gate.numpy(), x / (1 + np.exp(-x)) * up_TF


def _rope(runtime: Runtime) -> _Arrays:
    """Queries rotated by pairs (i, i + K / 2), then keys and values in the cache, end to end."""
    T, H, G, K = 5, 4, 2, 64
    q_THK, k_TGK, v_TGK = _random(10, T, H, K), _random(11, T, G, K), _random(12, T, G, K)
    angle = _random(13, T, 1, K // 2).astype(np.float64)
    angles = np.stack([np.cos(angle[:, 0]), np.sin(angle[:, 0])], axis=-1).astype(np.float32)
    slots_T = np.arange(BLOCK - 2, BLOCK - 2 + T, dtype=np.int32)
    zeros = np.zeros((2, G, BLOCK, K), np.float16)
    cache = cache_from_numpy(runtime, zeros, zeros)
    q, k, v = (runtime.from_numpy(array) for array in (q_THK, k_TGK, v_TGK))
    positions = runtime.from_numpy(angles), runtime.from_numpy(slots_T)
    rope_store(q, k, v, *positions, cache, adjacent=False)

    def rotated(x: NDArray[np.float32]) -> NDArray[np.float64]:
        a, b = np.split(x.astype(np.float64), 2, axis=2)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=2)

    cached = (part[slots_T // BLOCK, :, slots_T % BLOCK] for part in cache.numpy())
    expected = rotated(q_THK), rotated(k_TGK), v_TGK
    return np.concatenate([q.numpy(), *cached], axis=1), np.concatenate(expected, axis=1)


def _attention(count: int, position: int, precision: Precision) -> Callable[[Runtime], _Arrays]:
    def check(runtime: Runtime) -> _Arrays:
        H, G, K = 6, 2, 64
        length = count + position
        blocks = -(-length // BLOCK)
        q_THK = _random(14, count, H, K)
        k, v = (_random(seed, blocks, G, BLOCK, K).astype(np.float16) for seed in (15, 16))
        table = np.random.default_rng(17).permutation(blocks).astype(np.int32)[None]
        plan = plan_attention(
            runtime,
            [(count, position)],
            runtime.from_numpy(table),
            n_heads=H,
            n_kv_heads=G,
            head_dim=K,
        )
        out = runtime.empty(q_THK.shape, np.float32)
        cache = cache_from_numpy(runtime, k, v)
        attention(runtime.from_numpy(q_THK), cache, plan, out, precision=precision)
        k_HSK, v_HSK = (
            cached[table[0]].transpose(1, 0, 2, 3).reshape(G, -1, K)[:, :length].repeat(H // G, 0)
            for cached in (k.astype(np.float64), v.astype(np.float64))
        )
        scores = np.einsum("thk,hsk->ths", q_THK.astype(np.float64), k_HSK) / np.sqrt(K)
        hidden = np.arange(length) > np.arange(position, length)[:, None, None]
        weights = np.exp(np.where(hidden, -np.inf, scores - scores.max(axis=2, keepdims=True)))
        weights /= weights.sum(axis=2, keepdims=True)
        return out.numpy(), np.einsum("ths,hsk->thk", weights, v_HSK)

    return check


def _selection(runtime: Runtime) -> _Arrays:
    logits_RV = _random(18, 2, 1031)
    logits = runtime.from_numpy(logits_RV)
    got = np.concatenate([argmax(logits)[0][:, None], top_k(logits, 5)[0]], axis=1)
    best = np.argsort(-logits_RV, axis=1)[:, [0, 0, 1, 2, 3, 4]]
    return got, best


def _softmax(runtime: Runtime) -> _Arrays:
    logits_RV = _random(19, 2, 1031) * 4
    logits, totals = runtime.from_numpy(logits_RV), runtime.empty((2,), np.float32)
    softmax(logits, totals)
    exponentials = np.exp(logits_RV.astype(np.float64))
    return logits.numpy(), exponentials / exponentials.sum(axis=1, keepdims=True)


# Tolerances are those of the tests of the operations.
_CHECKS: dict[str, tuple[Callable[[Runtime], _Arrays], float]] = {
    "embedding": (_embedding, 0.0),
    "rmsnorm": (_rmsnorm, 2e-6),
    "matmul of 1 row": (_matmul(1, "high"), 2e-5),
    "matmul of 3 rows": (_matmul(3, "high"), 2e-5),
    "matmul of 40 rows": (_matmul(40, "high"), 5e-5),
    "matmul of 40 rows, fast": (_matmul(40, "fast"), 2e-2),
    "matmul of 1 row by q8_0": (_matmul_blocks("q8_0", 1, "high"), 4e-5),
    "matmul of 3 rows by q4_k, fast": (_matmul_blocks("q4_k", 3, "fast"), 2e-4),
    "matmul of 40 rows by q4_k, fast": (_matmul_blocks("q4_k", 40, "fast"), 2e-2),
    "rope_store": (_rope, 3e-3),
    "attention of 1 token": (_attention(1, 70, "high"), 2e-5),
    "attention of 40 tokens": (_attention(40, 30, "high"), 1e-4),
    "attention of 40 tokens, fast": (_attention(40, 30, "fast"), 5e-2),
    "swiglu": (_swiglu, 2e-6),
    "argmax and top_k": (_selection, 0.0),
    "softmax": (_softmax, 2e-5),
}
