"""The rotary embedding's part of Hugging Face's config.json, in all its spellings.

transformers 4 writes `rope_theta` and `rope_scaling` with `type` or `rope_type`; transformers 5
writes one object `rope_parameters`.
"""

import math

from cl_llama.models.config_values import ConfigValues
from cl_llama.models.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    RopeConfig,
    RopeScaling,
    YarnScaling,
    yarn_attention_factor,
)

_MOST_POSITIONS = 2**31 - 1
_KINDS = ("default", "linear", "dynamic", "yarn", "llama3", "longrope", "su")
_LAYER_KINDS = ("full_attention", "sliding_attention")
_KEYS = (
    "type",
    "rope_type",
    "rope_theta",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
    "short_factor",
    "long_factor",
    "finetuned",
)


def rope_from_hf(
    values: ConfigValues,
    default_max_positions: int,
    partial_of: int | None = None,
    *,
    default_theta: float = 10000.0,
    by_layers: bool = False,
) -> tuple[RopeConfig, int]:
    """The rotary embedding, and the number of positions it makes usable; raises ConfigError.

    The length is `max_position_embeddings`, extended by the factor of a linear or dynamic scaling,
    and to factor * original length by YaRN's where the file still states the unextended one.
    `partial_of` is the head width of a model that may rotate a part of it; None: others.
    `by_layers`: the model has two embeddings; this is the one of layers without a window.
    """
    max_positions = values.integer(
        "max_position_embeddings", default_max_positions, most=_MOST_POSITIONS
    )
    new_style = values.optional_section("rope_parameters")
    if by_layers and new_style is not None and any(map(new_style.has, _LAYER_KINDS)):
        new_style = new_style.optional_section("full_attention")
    section = values.optional_section("rope_scaling") or new_style
    section = section or ConfigValues(values.path, {}, "rope_parameters")
    for key in section.values:
        if key not in _KEYS:
            raise section.error(key, f"no keys but {', '.join(_KEYS)}")
    width = None
    for holder in (values, section):
        share = holder.number("partial_rotary_factor", 1.0, most=1.0)
        if share != 1.0 and partial_of is None:
            raise holder.error("partial_rotary_factor", "1: this model rotates whole heads")
        if share != 1.0 and partial_of is not None:
            width = int(partial_of * share)
            if width % 2 or width == 0:
                raise holder.error("partial_rotary_factor", f"an even part of {partial_of}")

    theta_holders = (section, new_style or section, values)
    holder = next((h for h in theta_holders if h.has("rope_theta")), values)
    theta = holder.number("rope_theta", default_theta, above=1.0)
    scaling, extended = _scaling(values, section, max_positions)
    return RopeConfig(theta, "half", scaling, width), min(extended, _MOST_POSITIONS)


def local_rope_from_hf(values: ConfigValues) -> RopeConfig:
    """The embedding of Gemma 3's layers with a window; raises ConfigError."""
    section = values.optional_section("rope_parameters")
    if section is not None and section.has("sliding_attention"):
        section = section.optional_section("sliding_attention")
        if section is not None:
            section.choice("rope_type", ("default",), "default")
            return RopeConfig(section.number("rope_theta", 10000.0, above=1.0), "half")
    return RopeConfig(values.number("rope_local_base_freq", 10000.0, above=1.0), "half")


def _scaling(
    values: ConfigValues, section: ConfigValues, max_positions: int
) -> tuple[RopeScaling | None, int]:
    type_key = "type" if section.has("type") and not section.has("rope_type") else "rope_type"
    if section.has("factor") and not section.has(type_key):
        raise section.error(type_key, f"one of {', '.join(_KINDS)}")
    match section.choice(type_key, _KINDS, "default"):
        case "linear":
            factor = section.number("factor", least=1.0)
            return LinearScaling(factor), int(max_positions * factor)
        case "dynamic":
            if (
                section.integer(
                    "original_max_position_embeddings", max_positions, most=_MOST_POSITIONS
                )
                != max_positions
            ):
                raise section.error(
                    "original_max_position_embeddings",
                    f"max_position_embeddings ({max_positions}) for dynamic scaling",
                )
            factor = section.number("factor", least=1.0)
            return DynamicScaling(factor, max_positions), int(max_positions * factor)
        case "yarn":
            yarn = _yarn(values, section, max_positions)
            return yarn, max(max_positions, int(yarn.original_max_positions * yarn.factor))
        case "llama3":
            low = section.number("low_freq_factor")
            high = section.number("high_freq_factor")
            if high <= low:
                raise section.error("high_freq_factor", f"a number above low_freq_factor ({low:g})")
            original = _original_max_positions(values, section, max_positions)
            factor = section.number("factor", least=1.0)
            return Llama3Scaling(factor, low, high, original), max_positions
        case "longrope" | "su":
            return _longrope(values, section, max_positions), max_positions
        case _:
            return None, max_positions


def _yarn(values: ConfigValues, section: ConfigValues, max_positions: int) -> YarnScaling:
    original = _original_max_positions(values, section, max_positions)
    # DeepSeek's files leave the factor to the ratio of the two lengths.
    ratio = max_positions / original if max_positions >= original else None
    factor = section.number("factor", ratio if "factor" in section.values else None, least=1.0)
    mscale = section.number("mscale", 0.0, least=0.0)
    mscale_all_dim = section.number("mscale_all_dim", 0.0, least=0.0)
    beta_fast = section.number("beta_fast", 32.0)
    beta_slow = section.number("beta_slow", 1.0)
    if beta_fast < beta_slow:
        raise section.error("beta_fast", f"a number of at least beta_slow ({beta_slow:g})")
    return YarnScaling(
        factor=factor,
        original_max_positions=original,
        attention_factor=section.number(
            "attention_factor", yarn_attention_factor(factor, mscale, mscale_all_dim)
        ),
        beta_fast=beta_fast,
        beta_slow=beta_slow,
        truncate=section.flag("truncate", True),
    )


def _longrope(values: ConfigValues, section: ConfigValues, max_positions: int) -> LongRopeScaling:
    key = "original_max_position_embeddings"
    if not values.has(key) and not section.has(key):
        raise values.error(key, "the positions of the training, where the scaling is longrope")
    original = _original_max_positions(values, section, max_positions)
    factor = section.number("factor", max_positions / original)
    stretch = 1.0
    if factor > 1.0 and original > 1:
        stretch = math.sqrt(1 + math.log(factor) / math.log(original))
    return LongRopeScaling(
        short_factors=section.numbers("short_factor"),
        long_factors=section.numbers("long_factor"),
        original_max_positions=original,
        attention_factor=section.number("attention_factor", stretch),
        longest=max_positions,
    )


def _original_max_positions(values: ConfigValues, section: ConfigValues, max_positions: int) -> int:
    """The length before the extension; as in transformers, a key outside the section wins."""
    key = "original_max_position_embeddings"
    return (values if values.has(key) else section).integer(
        key, max_positions, most=_MOST_POSITIONS
    )
