"""The sampling settings that `/set` knows: names, values as they are typed, values as shown."""

import json
from dataclasses import fields
from typing import Any

from cl_llama.engine.params import SamplingParams

_OTHERS = {"logit_bias", "stop_token_ids", "logprobs", "logits"}

SETTINGS = tuple(field.name for field in fields(SamplingParams) if field.name not in _OTHERS)
"""Fields of SamplingParams."""


def parse_setting(name: str, text: str) -> Any:
    """The value that a text means: JSON, `none`, `off`, or for texts the text itself."""
    if text.lower() in ("none", "null"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if name == "stop" and not isinstance(value, str | list) else value


def shown(value: Any) -> str:
    """A value as it would be typed."""
    if value is None:
        return "none"
    return json.dumps(value, ensure_ascii=False)
