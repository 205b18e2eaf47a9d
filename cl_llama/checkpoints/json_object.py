"""Strict reading of JSON objects: configurations, shard indices and safetensors headers."""

import json
import math
from pathlib import Path
from typing import Any

from cl_llama.errors import CheckpointError

_MAX_BYTES = 100 * 2**20
"""Far above any index or configuration; a larger file is something else."""


def parse_json_object(text: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `text`; `what` names its source in errors.

    Raises CheckpointError where the text is not UTF-8, not JSON, not an object, repeats a key or
    holds a number that is not finite.
    """

    def reject_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise CheckpointError(f"{what}: the name {key[:200]!r} stands there twice")
                seen.add(key)
        return result

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise CheckpointError(f"{what}: {number[:40]} is not a finite number")
        return value

    try:
        parsed = json.loads(
            text.decode("utf-8-sig"),
            object_pairs_hook=reject_repeats,
            parse_float=finite,
            parse_constant=finite,
        )
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{what}: not UTF-8 text (byte {error.start})") from None
    except RecursionError:
        raise CheckpointError(f"{what}: nested too deeply") from None
    except ValueError as error:
        raise CheckpointError(f"{what}: not valid JSON ({error})") from None
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{what}: expected a JSON object, got {type(parsed).__name__}")
    return parsed


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises CheckpointError where the file cannot be read, and as `parse_json_object` does.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: expected a JSON file, got a folder")
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise CheckpointError(f"{path}: {size} bytes are too many for a configuration")
        text = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    return parse_json_object(text, str(path))
