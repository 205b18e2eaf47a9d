"""What a grammar gets of a request's schema."""

from cl_llama.server.openai.schemas import prepared


def without_options(schema: dict[str, object]) -> dict[str, object]:
    made = prepared(schema, None)
    assert made.pop("x-guidance") == {"lenient": True}
    return made


def test_objects_have_the_named_properties_only():
    inner = {"properties": {"b": {"type": "string"}}}
    closed = inner | {"additionalProperties": False}
    schema = {
        "properties": {
            "a": inner,
            "list": {"items": inner},
            "either": {"anyOf": [inner, {"type": "null"}]},
            "open": inner | {"additionalProperties": True},
            "any": {"type": "object"},
            "properties": {"type": "string"},
        },
        "$defs": {"c": inner},
    }
    made = without_options(schema)
    assert made == {
        "properties": {
            "a": closed,
            "list": {"items": closed},
            "either": {"anyOf": [closed, {"type": "null"}]},
            "open": inner | {"additionalProperties": True},
            "any": {"type": "object"},
            "properties": {"type": "string"},
        },
        "$defs": {"c": closed},
        "additionalProperties": False,
    }
    assert "additionalProperties" not in schema  # the request's own stays as it is


def test_parts_that_hold_together_stay_open():
    schema = {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}
    assert without_options(schema) == schema
    schema = {"properties": {"x": schema}}
    assert without_options(schema) == schema


def test_options():
    made = prepared({"type": "object"}, True, whitespace_pattern=" ?")
    assert made["x-guidance"] == {"whitespace_pattern": " ?", "lenient": False}
