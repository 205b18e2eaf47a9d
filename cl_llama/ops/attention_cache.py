"""One layer's cache of keys and values: its formats, and the order that kernels want."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import FORMATS, dequantize, quantize
from cl_llama.blocks.layouts import LAYOUTS
from cl_llama.opencl.runtime import DeviceArray, Family, Runtime
from cl_llama.ops.shapes import ceil_div

KVType = Literal["f16", "q8_0"]
"""float16; or Q8_0: bytes, and a float16 scale for every 32 elements of a key or value."""
KV_TYPES: tuple[KVType, ...] = get_args(KVType)

BLOCK = 32
"""Positions in a block of the cache; the CPU family's kernels are written for 32."""

_Part = Literal["keys", "values"]
_GROUP = FORMATS["q8_0"].elements


@dataclass(frozen=True, eq=False)
class KVCache:
    """One layer's keys and values, laid out for one family's kernels.

    Portable family: [blocks, G, BLOCK, K] each. CPU family: keys [blocks, G, K, BLOCK], so that a
    vector has sixteen positions of one element; values [blocks, G, K / P, BLOCK, P], so that P
    elements of all of a block's positions, whose sums stay in registers, lie end to end.

    Q8_0 is uint8 [blocks, G, K + 2 * ceil(K / 32), BLOCK]: for each block and head, signed bytes
    in that order, then the scales, float16 [ceil(K / 32), BLOCK].
    """

    keys: DeviceArray
    values: DeviceArray
    family: Family
    kv_type: KVType = "f16"

    def numpy(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Copies of keys and values, [blocks, G, BLOCK, K] on both families: f16, or f32."""
        return self._rows(self.keys, "keys"), self._rows(self.values, "values")

    def _rows(self, array: DeviceArray, part: _Part) -> NDArray[Any]:
        held = array.numpy()
        if self.kv_type == "f16":
            return _to_rows(held, self.family, part)
        blocks, G, width, _ = held.shape
        groups = ceil_div(width, _GROUP + 2)
        K = width - 2 * groups
        numbers = held[:, :, :K].view(np.int8)
        numbers = numbers.reshape(blocks, G, *_unit_shape(self.family, part, K))
        packed = np.zeros((blocks, G, BLOCK, groups), LAYOUTS["q8_0"])
        padded = np.zeros((blocks, G, BLOCK, groups * _GROUP), np.int8)
        padded[..., :K] = _to_rows(numbers, self.family, part)
        packed["q"] = padded.reshape(packed["q"].shape)
        scales = np.ascontiguousarray(held[:, :, K:]).view(np.float16)
        packed["d"] = scales.reshape(blocks, G, groups, BLOCK).swapaxes(2, 3)
        return dequantize("q8_0", packed.view(np.uint8))[..., :K]


def allocate_cache(
    runtime: Runtime,
    blocks: int,
    n_kv_heads: int,
    head_dim: int,
    *,
    family: Family | None = None,
    kv_type: KVType = "f16",
) -> KVCache:
    """A layer's cache of `blocks` blocks, contents undefined; family None is the device's."""
    family = family or runtime.family
    shapes = (
        (blocks, n_kv_heads, *unit_shape(family, part, head_dim, kv_type))
        for part in get_args(_Part)
    )
    dtype = np.float16 if kv_type == "f16" else np.uint8
    keys, values = (runtime.empty(shape, dtype) for shape in shapes)
    return KVCache(keys, values, family, kv_type)


def cache_from_numpy(
    runtime: Runtime,
    keys: NDArray[np.floating[Any]],
    values: NDArray[np.floating[Any]],
    *,
    family: Family | None = None,
    kv_type: KVType = "f16",
) -> KVCache:
    """A cache of given contents, both [blocks, G, BLOCK, K]: f16, or what becomes Q8_0.

    There a position that holds a value that is not finite has scales that are NaN.
    """
    family = family or runtime.family
    arrays = []
    for part, rows in zip(get_args(_Part), (keys, values), strict=True):
        held = _from_rows(rows, family, part) if kv_type == "f16" else _packed(rows, family, part)
        arrays.append(runtime.from_numpy(held))
    return KVCache(arrays[0], arrays[1], family, kv_type)


def unit_shape(family: Family, part: _Part, head_dim: int, kv_type: KVType) -> tuple[int, ...]:
    """Shape of what the cache holds of a block and a head."""
    if kv_type == "q8_0":
        return (head_dim + 2 * ceil_div(head_dim, _GROUP), BLOCK)
    return _unit_shape(family, part, head_dim)


def cache_bytes(n_kv_heads: int, head_dim: int, kv_type: KVType) -> int:
    """Bytes of a block of keys, or of values."""
    return (
        n_kv_heads
        * BLOCK
        * (2 * head_dim if kv_type == "f16" else head_dim + 2 * ceil_div(head_dim, _GROUP))
    )


def panel(head_dim: int) -> int:
    """Elements of a value that lie together in the CPU family's cache: two vectors if they fit."""
    return next((panel for panel in (32, 16) if head_dim % panel == 0), head_dim)


def cache_defines(kv_type: KVType) -> dict[str, int]:
    """The build option of kernels that read or write a cache."""
    return {} if kv_type == "f16" else {"CACHE_Q8_0": 1}


def _unit_shape(family: Family, part: _Part, K: int) -> tuple[int, ...]:
    if family == "portable":
        return (BLOCK, K)
    return (K, BLOCK) if part == "keys" else (K // panel(K), BLOCK, panel(K))


def _from_rows(rows: NDArray[Any], family: Family, part: _Part) -> NDArray[Any]:
    """[blocks, G, BLOCK, K] in a family's order."""
    if family == "portable":
        return rows
    if part == "keys":
        return rows.swapaxes(2, 3)
    return rows.reshape(*rows.shape[:3], -1, panel(rows.shape[3])).swapaxes(2, 3)


def _to_rows(held: NDArray[Any], family: Family, part: _Part) -> NDArray[Any]:
    """The inverse."""
    if family == "portable":
        return held
    rows = held.swapaxes(2, 3)
    return rows if part == "keys" else rows.reshape(*rows.shape[:3], -1)


def _packed(rows: NDArray[np.floating[Any]], family: Family, part: _Part) -> NDArray[np.uint8]:
    """Q8_0 as the cache holds it."""
    blocks, G, _, K = rows.shape
    groups = ceil_div(K, _GROUP)
    finite = np.isfinite(rows).all(axis=3)
    padded = np.zeros((blocks, G, BLOCK, groups * _GROUP), np.float32)
    padded[..., :K][finite] = rows[finite]
    packed = quantize("q8_0", padded).view(LAYOUTS["q8_0"])
    packed["d"][~finite] = np.nan
    numbers = packed["q"].reshape(padded.shape)[..., :K]
    scales = np.ascontiguousarray(packed["d"].swapaxes(2, 3))
    units = [
        np.ascontiguousarray(part_of).reshape(blocks, G, -1).view(np.uint8)
        for part_of in (_from_rows(numbers, family, part), scales)
    ]
    return np.concatenate(units, axis=2).reshape(blocks, G, -1, BLOCK)
