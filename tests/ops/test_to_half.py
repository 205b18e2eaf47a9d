"""Values that the device rounds to f16, and matrices that are uploaded so."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.errors import CheckpointError
from cl_llama.opencl.runtime import DeviceArray, Runtime
from cl_llama.ops import weight as weight_module
from tests.ops.guarded import Guarded

# Ties to even, up and down, in normal and subnormal numbers; the largest; zeros of both signs.
EDGES = [
    1 + 2**-11,
    1 + 3 * 2**-11,
    2**-24,
    2**-25,
    1.0001 * 2**-25,
    3 * 2**-25,
    65519.99,
    0.0,
    -0.0,
]


def wide_values(count: int) -> np.ndarray:
    """f32 [count] of all magnitudes that f16 holds, and smaller."""
    rng = np.random.default_rng(count)
    values = rng.standard_normal(count) * 2.0 ** rng.integers(-30, 13, count)
    values[: len(EDGES)] = EDGES[:count]
    return values.astype(np.float32)


def bits_of(values: np.ndarray) -> np.ndarray:
    """The bits of bf16, values cut to it."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def widened(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 1000])
def test_to_half(runtime: Runtime, count: int, bf16: bool) -> None:
    values = wide_values(count)
    stored = bits_of(values) if bf16 else values
    out = Guarded(runtime, np.full(count + 5, 7, np.float16))
    too_large = runtime.from_numpy(np.zeros(1, np.uint32))
    ops.to_half(runtime.from_numpy(stored), out.array, 3, too_large)
    expected = np.full(count + 5, 7, np.float16)
    expected[3 : 3 + count] = (widened(stored) if bf16 else values).astype(np.float16)
    np.testing.assert_array_equal(out.numpy(), expected)
    assert too_large.numpy()[0] == 0


@pytest.mark.parametrize("value", [65520.0, -1e6, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 20, 34])
def test_what_f16_cannot_hold_is_told(runtime: Runtime, value: float, at: int) -> None:
    values = np.zeros(35, np.float32)
    values[at] = value
    for stored in (values, bits_of(values)):
        if value == 65520.0 and stored.dtype == np.uint16:
            continue  # bf16 has no such value
        too_large = runtime.from_numpy(np.zeros(1, np.uint32))
        halves = runtime.empty((35,), np.float16)
        ops.to_half(runtime.from_numpy(stored), halves, 0, too_large)
        assert too_large.numpy()[0] == 1


@dataclass
class Stored:
    """A matrix as a checkpoint gives it; satisfies `ops.weight.StoredSource`."""

    stored: np.ndarray
    by_host: bool = False

    name = "wide"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    def stored_rows(self, start: int, stop: int) -> np.ndarray:
        return self.stored[start:stop]

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        self.by_host = True
        rows = self.stored[start:stop]
        return widened(rows) if rows.dtype == np.uint16 else rows

    def release(self) -> None:
        pass


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_module, "_FEWEST_STAGED", 1)
    monkeypatch.setattr(weight_module, "_STAGED_BYTES", 700)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("max_alloc_bytes", [None, 1500])
def test_pieces_keep_their_order(
    runtime: Runtime, bf16: bool, max_alloc_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if max_alloc_bytes is not None:
        limited = replace(runtime.device, max_alloc_bytes=max_alloc_bytes)
        monkeypatch.setattr(runtime, "device", limited)
    values = wide_values(41 * 33).reshape(41, 33)
    source = Stored(bits_of(values) if bf16 else values)
    told: list[int] = []
    weight = ops.upload_matrix(runtime, source, told.append)
    assert len(weight.segments) == (1 if max_alloc_bytes is None else 2)
    rows = [
        DeviceArray(runtime, s.buffer, (s.rows, 33), np.dtype(np.float16)).numpy()
        for s in weight.segments
    ]
    expected = widened(source.stored) if bf16 else values
    np.testing.assert_array_equal(np.concatenate(rows), expected.astype(np.float16))
    assert len(told) > 2
    assert sum(told) == 41 * 33 * 2
    assert not source.by_host


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("bf16", [False, True])
def test_a_value_too_large_in_a_later_piece(runtime: Runtime, bf16: bool) -> None:
    values = np.zeros((41, 33), np.float32)
    values[20, 5] = -131072.0
    source = Stored(bits_of(values) if bf16 else values)
    with pytest.raises(CheckpointError, match=r"wide: holds 131072, f16 ends at 65504"):
        ops.upload_matrix(runtime, source)


@pytest.mark.usefixtures("small_pieces")
def test_the_host_rounds_rows_larger_than_an_allocation(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = replace(runtime.device, max_alloc_bytes=100)
    monkeypatch.setattr(runtime, "device", limited)
    source = Stored(wide_values(2 * 33).reshape(2, 33))
    assert len(ops.upload_matrix(runtime, source).segments) == 2
    assert source.by_host
