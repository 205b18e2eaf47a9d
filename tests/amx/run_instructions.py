"""Executes AMX instructions and compares with NumPy: python run_instructions.py library.so case.

Bit for bit: the numbers are chosen such that float64 holds every intermediate result exactly.
"""

import ctypes
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.opencl import amx

M, K, N = 5, 3, 7
"""Rows of a, words of 32 bits in its rows, words in the rows of b and c: less than a tile."""


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    case = sys.argv[2]
    if case != "unpermitted":
        assert amx.permission() is None
    globals()[f"check_{case}"](library)


def configuration(shapes: dict[int, tuple[int, int]]) -> NDArray[np.uint8]:
    """The operand of ldtilecfg; shapes are rows and words by tile."""
    out = np.zeros(64, np.uint8)
    out[0] = 1
    for tile, (rows, words) in shapes.items():
        out[16 + 2 * tile] = 4 * words
        out[48 + tile] = rows
    return out


def configure(library: Any, shapes: dict[int, tuple[int, int]] | None = None) -> NDArray[np.uint8]:
    config = configuration(shapes or {0: (M, N), 1: (M, K), 2: (K, N)})
    library.configure(pointer(config))
    return config


def pointer(array: NDArray[Any], offset: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data + offset)


def strided(rows: NDArray[Any], stride: int) -> NDArray[np.uint8]:
    """The rows' bytes, `stride` apart, and 0xee between them."""
    out = np.full((len(rows), stride), 0xEE, np.uint8)
    width = rows.shape[1] * rows.itemsize
    out[:, :width] = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width)
    return out


def multiply(function: Any, a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> NDArray[Any]:
    strides = (48, 80, 96)
    x, y, z = (strided(rows, stride) for rows, stride in zip((a, b, c), strides, strict=True))
    function(
        *(
            value
            for array, stride in zip((x, y, z), strides, strict=True)
            for value in (pointer(array), ctypes.c_int64(stride))
        )
    )
    width = c.shape[1] * 4
    assert (z[:, width:] == 0xEE).all(), "written beyond the tile's columns"
    return np.ascontiguousarray(z[:, :width]).view(c.dtype)


def bf16(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Their upper halves as float32, which is all there is of them."""
    bits = values.astype(np.float32).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(np.uint16)


def random_bf16(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return (
        rng.integers(128, 256, shape)
        * rng.choice([-1.0, 1.0], shape)
        * 2.0 ** rng.integers(-9, -4, shape)
    )


def flushed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded to float32; denormals are zero."""
    out = values.astype(np.float32)
    return np.where(np.abs(out) < 2.0**-126, np.copysign(0.0, out), out).astype(np.float64)


def bf16_product(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Two chains a column, over the even and the odd rows of b [2 K, N]; then their sum, then c."""
    chains = np.zeros((2, *c.shape))
    for k in range(0, a.shape[1], 2):
        for i in (0, 1):
            chains[i] = flushed(chains[i] + np.outer(a[:, k + i], b[k + i]))
    return flushed(c + flushed(chains[0] + chains[1])).astype(np.float32)


def pairs(b: NDArray[Any]) -> NDArray[Any]:
    """Rows of b [2 K, N] two by two, as a tile has them: [K, 2 N]."""
    return b.reshape(len(b) // 2, 2, -1).transpose(0, 2, 1).reshape(len(b) // 2, -1)


def check_bf16(library: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = random_bf16(rng, (M, 2 * K)), random_bf16(rng, (2 * K, N))
        c = rng.standard_normal((M, N)).astype(np.float32)
        expected = bf16_product(a, b, c)
        configure(library)
        got = multiply(library.bf16, bf16(a), bf16(pairs(b)), c)
        np.testing.assert_array_equal(got, expected)
        configure(library, {7: (M, N), 5: (M, K), 6: (K, N)})
        got = multiply(library.bf16_elsewhere, bf16(a), bf16(pairs(b)), c)
        np.testing.assert_array_equal(got, expected)
    library.release()


def check_denormals(library: Any) -> None:
    """Denormal operands and results count as zero; what is normal stays."""
    configure(library)
    a = np.zeros((M, 2 * K))
    b = np.zeros((2 * K, N))
    a[0, 0], b[0, 0] = 2.0**-130, 2.0**100  # a denormal operand
    a[1, 1], b[1, 1] = 2.0**-70, 2.0**-60  # a denormal product
    a[2, 2], b[2, 2] = 2.0**-70, 2.0**-50
    c = np.full((M, N), 2.0**-128, np.float32)  # a denormal sum so far
    got = multiply(library.bf16, bf16(a), bf16(pairs(b)), c)
    expected = np.zeros((M, N), np.float32)
    expected[2, 2] = 2.0**-120
    np.testing.assert_array_equal(got, expected)


def check_int8(library: Any) -> None:
    rng = np.random.default_rng(2)
    types = {"s8": np.int8, "u8": np.uint8}
    for name in ("s8_s8", "s8_u8", "u8_s8", "u8_u8"):
        configure(library)
        a_type, b_type = (types[part] for part in name.split("_"))
        a = rng.integers(-128, 128, (M, 4 * K)).astype(np.int8).view(a_type)
        b = rng.integers(-128, 128, (4 * K, N)).astype(np.int8).view(b_type)
        c = rng.integers(-(2**31), 2**31, (M, N)).astype(np.int32)
        quads = b.reshape(K, 4, N).transpose(0, 2, 1).reshape(K, 4 * N)
        got = multiply(getattr(library, name), a, quads, c)
        expected = (c + a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32)  # wraps around
        np.testing.assert_array_equal(got, expected)


def check_tiles(library: Any) -> None:
    """The configuration comes back; loads without an index; zeroed tiles."""
    config = configure(library, {3: (16, 16), 4: (2, 3)})
    stored = np.zeros(64, np.uint8)
    library.store_configuration(pointer(stored))
    np.testing.assert_array_equal(stored, config)
    rows = np.arange(16 * 16, dtype=np.int32).reshape(16, 16)
    out = np.zeros_like(rows)
    library.spread(pointer(rows), pointer(out), ctypes.c_int64(64))
    np.testing.assert_array_equal(out, np.broadcast_to(rows[0], (16, 16)))
    library.clear(pointer(rows), pointer(out), ctypes.c_int64(64))
    assert (out[:2, :3] == 0).all()
    assert (out[:2, 3:] == rows[0, 3:]).all()
    assert (out[2:] == rows[0]).all()
    library.release()
    library.store_configuration(pointer(stored))
    assert not stored.any()
    config = configuration({3: (1, 1)})
    library.configure_here(pointer(config))
    library.store_configuration(pointer(stored))
    np.testing.assert_array_equal(stored, config)


def check_unpermitted(library: Any) -> None:
    configure(library)
    check_tiles(library)


def check_unconfigured(library: Any) -> None:
    library.release()
    rows = np.zeros((16, 16), np.int32)
    library.spread(pointer(rows), pointer(rows), ctypes.c_int64(64))


def check_misfit(library: Any) -> None:
    """The rows of b are not as many as a has words in a row."""
    configure(library, {0: (M, N), 1: (M, K), 2: (K + 1, N)})
    rows = np.zeros((16, 16), np.int32)
    multiply(library.bf16, rows[:M, :K], rows[: K + 1, :N], rows[:M, :N])


def check_ud2(library: Any) -> None:
    library.no_amx_instruction()


if __name__ == "__main__":
    main()
