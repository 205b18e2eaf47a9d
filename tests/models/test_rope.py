"""Rotary tables against the formulas and against transformers' frequencies."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from cl_llama.models.config_values import ConfigValues
from cl_llama.models.hf_rope import rope_from_hf
from cl_llama.models.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeConfig,
    YarnScaling,
    cos_sin,
    inverse_frequencies,
    yarn_attention_factor,
)

CASES = json.loads((Path(__file__).resolve().parents[1] / "fixtures" / "rope.json").read_text())
HEAD_DIM = 64


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_frequencies_equal_transformers(case):
    rope, _ = rope_from_hf(ConfigValues(Path("config.json"), case["config"]), 2048)
    position = (case["length"] or 1) - 1
    rope = rope.for_length(position + 1)
    got = inverse_frequencies(rope, HEAD_DIM, np.array([position]))[0]
    # transformers computes them in float32.
    np.testing.assert_allclose(got, case["inverse_frequencies"], rtol=2e-6)
    scaled = isinstance(rope.scaling, YarnScaling | LongRopeScaling)
    factor = rope.scaling.attention_factor if scaled else 1.0
    assert factor == pytest.approx(case["attention_factor"], rel=1e-12)


def test_every_kind_is_covered():
    kinds = {type(rope_from_hf(ConfigValues(Path(), c["config"]), 1)[0].scaling) for c in CASES}
    assert kinds == {LinearScaling, DynamicScaling, YarnScaling, Llama3Scaling, LongRopeScaling}


def test_plain_table():
    positions = np.array([0, 1, 5, 131071])
    table = cos_sin(RopeConfig(10000.0, "half"), 10, positions)
    assert table.shape == (4, 5, 2) and table.dtype == np.float32
    for t, position in enumerate(positions.tolist()):
        for pair in range(5):
            angle = position * 10000.0 ** (-2 * pair / 10)
            assert table[t, pair, 0] == np.float32(math.cos(angle))
            assert table[t, pair, 1] == np.float32(math.sin(angle))


def test_linear_divides_positions():
    scaled = RopeConfig(10000.0, "half", LinearScaling(4.0))
    plain = RopeConfig(10000.0, "half")
    np.testing.assert_allclose(
        cos_sin(scaled, 16, np.array([4, 40])), cos_sin(plain, 16, np.array([1, 10])), atol=1e-6
    )


def test_dynamic_is_plain_up_to_the_original_length():
    rope = RopeConfig(10000.0, "half", DynamicScaling(2.0, 24))
    plain = RopeConfig(10000.0, "half")
    within = np.arange(24)
    np.testing.assert_array_equal(cos_sin(rope, 16, within), cos_sin(plain, 16, within))
    assert not np.allclose(cos_sin(rope, 16, np.array([24])), cos_sin(plain, 16, np.array([24])))


def test_dynamic_does_not_depend_on_how_a_prompt_is_cut():
    rope = RopeConfig(10000.0, "half", DynamicScaling(2.0, 24))
    whole = cos_sin(rope, 16, np.arange(60))
    pieces = [cos_sin(rope, 16, np.arange(a, b)) for a, b in [(0, 7), (7, 31), (31, 32), (32, 60)]]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_dynamic_base():
    rope = RopeConfig(10000.0, "half", DynamicScaling(2.0, 24))
    base = 10000.0 * (2.0 * 48 / 24 - 1) ** (16 / 14)
    got = inverse_frequencies(rope, 16, np.array([47]))[0]
    np.testing.assert_allclose(got, base ** -(np.arange(8) / 8), rtol=1e-14)


def test_yarn_multiplies_by_the_attention_factor():
    scaling = YarnScaling(4.0, 32, attention_factor=yarn_attention_factor(4.0))
    table = cos_sin(RopeConfig(10000.0, "half", scaling), 16, np.array([0, 9]))
    np.testing.assert_allclose(table[0, :, 0], 0.1 * math.log(4.0) + 1.0, rtol=1e-7)
    np.testing.assert_allclose(np.hypot(table[1, :, 0], table[1, :, 1]), table[0, :, 0], rtol=1e-6)


def test_yarn_attention_factor():
    assert yarn_attention_factor(0.5) == 1.0
    assert yarn_attention_factor(8.0, 0.7, 0.7) == 1.0
    assert yarn_attention_factor(8.0, 0.7, None) == yarn_attention_factor(8.0)


def test_yarn_with_an_empty_ramp_is_finite():
    scaling = YarnScaling(4.0, 32, 1.0, beta_fast=2.0, beta_slow=2.0, truncate=False)
    assert np.isfinite(cos_sin(RopeConfig(10000.0, "half", scaling), 16, np.arange(8))).all()


def test_llama3_bands():
    rope = RopeConfig(500000.0, "adjacent", Llama3Scaling(8.0, 1.0, 4.0, 8192))
    plain = inverse_frequencies(RopeConfig(500000.0, "adjacent"), 128, np.array([0]))[0]
    got = inverse_frequencies(rope, 128, np.array([0]))[0]
    wavelengths = 2 * math.pi / plain
    fast, slow = wavelengths < 8192 / 4, wavelengths > 8192
    assert fast.any() and slow.any() and not (fast | slow).all()
    np.testing.assert_array_equal(got[fast], plain[fast])
    np.testing.assert_allclose(got[slow], plain[slow] / 8, rtol=1e-15)
    between = got[~fast & ~slow] / plain[~fast & ~slow]
    assert ((between > 1 / 8) & (between < 1)).all() and (np.diff(between) < 0).all()
