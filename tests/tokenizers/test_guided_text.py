"""Every kind of vocabulary writes what a grammar says."""

import json

import numpy as np

from cl_llama.grammar import GrammarCompiler

SCHEMA = {
    "type": "object",
    "properties": {
        "größe": {"type": "string"},
        "list": {"type": "array", "items": {"type": "number"}, "maxItems": 4},
        "end": {"const": "naïve 😀 \\ \"café\""},
    },
    "required": ["größe", "list", "end"],
    "additionalProperties": False,
}  # fmt: skip


def test_random_tokens_under_a_mask_are_json(tokenizer):
    vocab_size = tokenizer.vocab_size + 3
    mask = GrammarCompiler(tokenizer, vocab_size).json_schema(SCHEMA).mask().ending_with([0])
    random = np.random.default_rng(1)
    closing = np.array([b'"' in tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)])
    ids: list[int] = []
    while True:
        allowed = np.flatnonzero(mask(ids))
        assert allowed.max() < tokenizer.vocab_size
        # An end is one token of thousands: a uniform choice would hardly ever come to it.
        closes = allowed[closing[allowed]]
        if len(closes) and random.random() < 0.2:
            allowed = closes
        token_id = int(random.choice(allowed))
        if token_id == 0:
            break
        ids.append(token_id)
        assert len(ids) < 2000
    for at_start in (False, True):
        value = json.loads(tokenizer.decode(ids, at_start=at_start))
        assert list(value) == SCHEMA["required"]
        assert isinstance(value["größe"], str)
        assert all(isinstance(number, int | float) for number in value["list"])
        assert value["end"] == SCHEMA["properties"]["end"]["const"]
