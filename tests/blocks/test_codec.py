"""Blocks against values worked out by hand, against the gguf package, and there and back."""

import re

import numpy as np
import pytest

from cl_llama.blocks import FORMATS, GGUF_TYPES, QUANTIZABLE, dequantize, quantize
from cl_llama.blocks.layouts import LAYOUTS

# Relative RMS error of normally distributed values. Round to nearest with a step h errs by
# h / sqrt(12); a block's step is its largest magnitude (about 2.1 deviations of 32) over the
# format's levels. The K formats spend bits on scales and search them.
RMS_ERROR = {
    "q8_0": 0.006,
    "q4_0": 0.09,
    "q4_1": 0.081,
    "q5_0": 0.045,
    "q5_1": 0.039,
    "q4_k": 0.074,
    "q5_k": 0.038,
    "q6_k": 0.0185,
}


def block(name: str, **fields: object) -> np.ndarray:
    made = np.zeros(1, LAYOUTS[name])
    for field, value in fields.items():
        made[field] = value
    return made.view(np.uint8)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape, np.float32)


def test_layouts_have_the_formats_sizes() -> None:
    assert {name: layout.itemsize for name, layout in LAYOUTS.items()} == {
        name: form.nbytes for name, form in FORMATS.items()
    }
    assert set(GGUF_TYPES.values()) - {"f32", "f16", "bf16"} == set(FORMATS)


def test_blocks_by_hand() -> None:
    q8_0 = dequantize("q8_0", block("q8_0", d=0.5, q=np.arange(-16, 16)))
    np.testing.assert_array_equal(q8_0, np.arange(-16, 16) * 0.5)

    q4_0 = dequantize("q4_0", block("q4_0", d=2, q=0x80 + np.arange(16)))
    np.testing.assert_array_equal(q4_0, [*(2.0 * (np.arange(16) - 8)), *[0.0] * 16])

    q5_1 = dequantize("q5_1", block("q5_1", d=1, m=-3, q=0x21, high=[0xFF, 0, 0, 0x80]))
    np.testing.assert_array_equal(q5_1, [14] * 8 + [-2] * 8 + [-1] * 15 + [15])

    # group 1 has scale 63 and offset 1; group 5 scale 16 + 2 and offset 32 + 3
    scales = [0, 63 | 1 << 6, 0, 0, 0, 1 | 2 << 6, 0, 0, 0, 3 << 4 | 2, 0, 0]
    q4_k = dequantize("q4_k", block("q4_k", d=1, dmin=1, scales=scales, q=0xF1))
    expected = np.zeros((8, 32))
    expected[1], expected[5] = 63 * 15 - 1, 18 * 15 - 35
    np.testing.assert_array_equal(q4_k, expected.ravel())

    q6_k = dequantize("q6_k", block("q6_k", d=0.5, scales=np.arange(16) - 8, q=0xA5, high=0xE4))
    groups = [5 - 32, 5 + 16 - 32, 10 + 32 - 32, 10 + 48 - 32] * 2  # of 32 values
    expected = np.repeat(groups, 32).reshape(16, 16) * (np.arange(16) - 8)[:, None] * 0.5
    np.testing.assert_array_equal(q6_k, expected.ravel())

    iq4_nl = dequantize("iq4_nl", block("iq4_nl", d=1, q=0x0F))
    np.testing.assert_array_equal(iq4_nl, [113] * 16 + [-127] * 16)


@pytest.mark.parametrize("name", FORMATS)
def test_random_bytes_agree_with_the_gguf_package(name: str) -> None:
    gguf = pytest.importorskip("gguf")
    form = FORMATS[name]
    blocks = np.random.default_rng(3).integers(0, 256, (3, 7 * form.nbytes), np.uint8)
    kind = gguf.GGMLQuantizationType[name.upper()]
    assert GGUF_TYPES[kind.value] == name
    with np.errstate(invalid="ignore", over="ignore"):  # some of the random scales are no numbers
        ours, theirs = dequantize(name, blocks), gguf.quants.dequantize(blocks, kind)
    np.testing.assert_array_equal(ours, theirs)
    if name in ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1"):  # those that the package makes
        values = normal(5, 96)
        np.testing.assert_array_equal(quantize(name, values), gguf.quants.quantize(values, kind))


@pytest.mark.parametrize("name", QUANTIZABLE)
def test_there_and_back(name: str) -> None:
    values = normal(3, 512) * np.float32(0.02)
    blocks = quantize(name, values)
    assert blocks.shape == (3, FORMATS[name].row_bytes(512))
    error = np.sqrt(np.mean((dequantize(name, blocks) - values) ** 2)) / 0.02
    assert error < RMS_ERROR[name]
    # a row's blocks depend on the row alone, whatever it is quantised with, and f16 is widened
    many = np.tile(values, (200, 1)).astype(np.float16)  # more than a piece
    np.testing.assert_array_equal(quantize(name, many)[541], quantize(name, many[1]))
    np.testing.assert_array_equal(
        dequantize(name, np.tile(blocks, (200, 1)))[541], dequantize(name, blocks[1])
    )


@pytest.mark.parametrize("name", QUANTIZABLE)
@pytest.mark.parametrize("value", [0.0, 0.75, -0.75])
def test_constant_blocks(name: str, value: float) -> None:
    """A block of equal values divides by no zero, and holds the value to its scale's rounding."""
    back = dequantize(name, quantize(name, np.full((1, 256), value, np.float32)))
    np.testing.assert_allclose(back, np.full((1, 256), value), rtol=2**-7)


def test_values_that_no_scale_can_hold() -> None:
    for bad in (np.nan, np.inf, 1e6):
        values = np.ones(64, np.float32)
        values[40] = bad
        with pytest.raises(ValueError, match=re.escape(f"a value is {bad:g}")):
            quantize("q4_0", values)


def test_wrong_sizes_and_names() -> None:
    with pytest.raises(ValueError, match="33 values is no multiple of 32"):
        quantize("q8_0", np.zeros((2, 33), np.float32))
    with pytest.raises(ValueError, match="35 bytes are no multiple of 34"):
        dequantize("q8_0", np.zeros(35, np.uint8))
    with pytest.raises(ValueError, match="q9_k: no such block format"):
        dequantize("q9_k", np.zeros(34, np.uint8))
    with pytest.raises(ValueError, match="iq4_nl: not a format to quantise to"):
        quantize("iq4_nl", np.zeros(32, np.float32))
