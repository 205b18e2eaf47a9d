"""JSON schemas of requests, made ready for a grammar."""

from collections.abc import Mapping
from typing import Any

from cl_llama.server.errors import ApiError

_IN_NAMES = ("properties", "$defs", "definitions")
_IN_LISTS = ("anyOf", "oneOf", "prefixItems")


def prepared(schema: Mapping[str, Any], strict: bool | None, **options: Any) -> dict[str, Any]:
    """A schema with llguidance's options.

    What llguidance does not know is an error where the schema is strict, and otherwise left out.
    Objects have the properties that the schema names and no others, unless it says so: JSON
    Schema allows any, but a model that is free to invent some does not come to an end.

    Raises ApiError for a schema that is nested too deeply.
    """
    try:
        closed = dict(schema) if _has_all_of(schema) else _closed(schema)
    except RecursionError:
        raise ApiError("a JSON schema is nested too deeply") from None
    closed["x-guidance"] = {**options, "lenient": not strict}
    return closed


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(schema)
    for key in _IN_NAMES:
        if isinstance(result.get(key), Mapping):
            result[key] = {name: _closed_if_any(one) for name, one in result[key].items()}
    for key in _IN_LISTS:
        if isinstance(result.get(key), list):
            result[key] = [_closed_if_any(one) for one in result[key]]
    if "items" in result:
        result["items"] = _closed_if_any(result["items"])
    if "properties" in result and "patternProperties" not in result:
        result.setdefault("additionalProperties", False)
    return result


def _closed_if_any(value: Any) -> Any:
    return _closed(value) if isinstance(value, Mapping) else value


def _has_all_of(value: Any) -> bool:
    """Whether parts of a schema hold together, each of which must leave room for the others."""
    if isinstance(value, Mapping):
        return "allOf" in value or any(map(_has_all_of, value.values()))
    return isinstance(value, list) and any(map(_has_all_of, value))
