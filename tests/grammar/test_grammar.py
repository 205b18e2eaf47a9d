import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.engine.speculation.costs import StepCosts
from cl_llama.engine.speculation.lookup import Lookup
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import GrammarError, TokenizerError
from cl_llama.grammar import Grammar, GrammarCompiler
from cl_llama.grammar.compiler import MAX_CACHED
from cl_llama.llm import Llama
from cl_llama.tokenizers.tiktoken import TiktokenTokenizer
from tests.paged_model import PagedModel
from tests.tokenizers.small_files import tiktoken_file

TOKENIZER = TiktokenTokenizer(tiktoken_file(), Path("small.tiktoken"))  # id 65 is the byte 65
V = TOKENIZER.vocab_size + 5
END, TURN_END = TOKENIZER.eos_ids[0], TOKENIZER.eos_ids[-1]
BOUNDED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "kind": {"enum": ["cat", "dög", "\"q\"", 7, None]},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 3},
        "either": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/tag"}]},
    },
    "required": ["name", "kind", "age", "tags", "either"],
    "additionalProperties": False,
    "$defs": {
        "tag": {
            "type": "object",
            "properties": {"x": {"enum": [1, 2]}},
            "required": ["x"],
            "additionalProperties": False,
        }
    },
}  # fmt: skip


def check_bounded(text: str) -> None:
    value = json.loads(text)
    assert list(value) == BOUNDED["required"]
    assert isinstance(value["name"], str) and 1 <= len(value["name"]) <= 8
    assert value["kind"] in BOUNDED["properties"]["kind"]["enum"]
    assert type(value["age"]) is int and 0 <= value["age"] <= 130
    assert 1 <= len(value["tags"]) <= 3
    for tag in value["tags"] + [value["either"]] * (not isinstance(value["either"], bool)):
        assert tag in ({"x": 1}, {"x": 2})


@pytest.fixture(scope="module")
def grammars() -> GrammarCompiler:
    return GrammarCompiler(TOKENIZER, V)


def allows(grammar: Grammar, text: str, end: bool = True) -> bool:
    """Whether the grammar lets the text be written byte by byte and, if `end`, end there."""
    mask, ids = grammar.mask(), []
    for token_id in [*text.encode(), *[END] * end]:
        if not mask(ids)[token_id]:
            return False
        ids.append(token_id)
    return True


TEXTS = [
    ({"type": "object"}, ['{}', '{"a": [1, -2.5e3, true, null, "é😀\\n\\""]}', '{\n  "a":1\n}'],
     ['[1]', '{"a":  1}', ' {}', '{} ', '{"a"}', '{"a":01}', '{"a":1,}', "{'a':1}"]),
    ({"enum": ["a", "b c", 1, None]}, ['"a"', '"b c"', '1', 'null'], ['"c"', '2', '"b  c"']),
    ({"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 2},
     ["[1]", "[1.5, -2]", "[0,1]"], ["[]", "[1,2,3]", '["1"]']),
    ({"type": "string", "pattern": "^[a-z]{2}[0-9]$"}, ['"ab1"'], ['"ab"', '"AB1"']),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ['"x"', "12"], ["1.5", "true"]),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties":
      {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
      "required": ["n"], "additionalProperties": False}}},
     ['{"n": null}', '{"n":{"n":{"n":null}}}'], ['{"n": 1}', "{}"]),
    (BOUNDED, [], ['{"kind"']),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "right", "wrong"), TEXTS)
def test_a_schema_allows_what_is_valid(grammars, schema, right, wrong):
    for grammar in (grammars.json_schema(schema), grammars.json_schema(json.dumps(schema))):
        assert [text for text in right if not allows(grammar, text)] == []
        assert [text for text in wrong if allows(grammar, text)] == []


def test_other_notations(grammars):
    lark = grammars.lark('start: "a" b+ <|python_tag|>?\nb: /[0-9]{2}/')
    assert allows(lark, "a1234") and not allows(lark, "a123") and not allows(lark, "a")
    tag = TOKENIZER.encode("<|python_tag|>", add_bos=False, special=True)[0]
    mask = lark.mask()
    assert mask(list(b"a12"))[tag] and not mask(list(b"a1"))[tag]
    gbnf = grammars.gbnf(
        'root ::= "x" ( pair | [yz] )  # a comment\npair ::= "é" ws "/"\nws ::= " "*'
    )
    assert allows(gbnf, "xy") and allows(gbnf, "xé  /") and not allows(gbnf, "xa")
    regex = grammars.regex(r"(/|\d+ )é\"")
    assert allows(regex, '/é"') and allows(regex, '12 é"') and not allows(regex, 'xé"')


@pytest.mark.parametrize(
    ("notation", "text", "said"),
    [
        ("json_schema", '{"type": "frob"}', "^JSON schema: Invalid type: frob"),
        ("json_schema", '{"not": {}}', 'Unimplemented keys: \\["not"\\]'),
        ("json_schema", {"$ref": "#/$defs/x"}, "'/\\$defs/x' does not exist"),
        ("json_schema", '{"type"', "JSON schema: Expecting ':' delimiter"),
        ("json_schema", "[1]", r"JSON schema: expected an object, got \[1\]"),
        ("json_schema", {"enum": {1}}, "JSON schema: Object of type set is not JSON"),
        ("json_schema", '{"a":' * 100_000, "JSON schema: it is nested too deeply"),
        ("json_schema", {"type": "integer", "minimum": 2, "maximum": 1}, "minimum .* is greater"),
        ("json_schema", {"type": "string", "pattern": "(a"}, "unclosed group"),
        ("json_schema", {"x-guidance": 3}, "JSON schema: "),
        ("json_schema", {"$ref": "#"}, "no token of the vocabulary can follow"),
        ("lark", 'start: "a" foo', r'Lark grammar: at 1\(\d+\): unknown name: "foo"'),
        ("lark", "", "Lark grammar: "),
        ("lark", "start: " + "(" * 100_000, "Lark grammar: .*deeply nested"),
        ("lark", 'start: %json {"not": {}}', "Unimplemented keys"),
        ("gbnf", 'root ::= "a" b', "GBNF grammar: Rule 'b' not found"),
        ("gbnf", "root ::= " + "(" * 100_000, "GBNF grammar: it is nested too deeply"),
        ("gbnf", 'start: "a"', "GBNF grammar: Expected ::="),
        ("regex", "(a", "^regular expression: invalid regex .*unclosed group"),
        ("regex", "", "regular expression: it is empty"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(grammars, notation, text, said):
    with pytest.raises(GrammarError, match=said) as raised:
        getattr(grammars, notation)(text)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 400


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(GrammarError, match=r'pip install "cl-llama\[grammar\]"'):
        GrammarCompiler(TOKENIZER, V).json_object()


def test_end_tokens_are_allowed_when_the_grammar_is_complete_and_no_others(grammars):
    mask = grammars.lark('start: "ab" "c"?').mask().ending_with([TURN_END, ord("c"), V + 7])
    assert np.flatnonzero(mask(b"")).tolist() == [ord("a")]
    # "c" would go on with the text, but this request ends with it.
    assert np.flatnonzero(mask(b"ab")).tolist() == [ord("c"), TURN_END]
    whole = grammars.lark('start: "ab" "c"?').mask().ending_with([TURN_END])
    assert np.flatnonzero(whole(b"abc")).tolist() == [TURN_END]
    assert whole.is_finished(b"abc") and not whole.is_finished(b"ab")


def test_rows_past_the_vocabulary_are_never_allowed(grammars):
    allowed_V = grammars.regex("(?s:.*)").mask()([])
    assert allowed_V.shape == (V,)
    assert not allowed_V[TOKENIZER.vocab_size :].any()
    assert allowed_V[:128].all()


def test_a_mask_may_be_asked_twice_and_go_back(grammars):
    grammar = grammars.json_schema(BOUNDED)
    text = '{"name": "é"'.encode()
    fresh = [grammar.mask()(text[:n]).copy() for n in range(len(text) + 1)]
    mask = grammar.mask()
    for n in [0, 0, 3, 3, 5, 4, 1, 12, 12, 0, len(text)]:
        assert (mask(text[:n]) == fresh[n]).all()
    assert (mask(b'{"name": "x') == grammar.mask()(b'{"name": "x')).all()
    with pytest.raises(GrammarError, match="token 120 does not follow"):
        mask(b"x")
    assert (mask(b"{") == fresh[1]).all()


def test_a_text_that_no_token_can_continue_is_an_error():
    class FewTokens(TiktokenTokenizer):
        def token_bytes(self, token_id: int) -> bytes:
            return b"" if token_id == ord("b") else super().token_bytes(token_id)

    mask = GrammarCompiler(FewTokens(tiktoken_file(), Path("few")), V).regex("ab").mask()
    assert mask([])[ord("a")]
    with pytest.raises(GrammarError, match="no token of the vocabulary can follow after 1 tokens"):
        mask(b"a")


def test_compiled_grammars_are_kept_for_a_while(grammars):
    first = grammars.regex("a0")
    assert grammars.regex("a0") is first
    for number in range(1, MAX_CACHED):
        grammars.regex(f"a{number}")
    assert grammars.regex("a0") is first
    for number in range(MAX_CACHED, 2 * MAX_CACHED):
        grammars.regex(f"a{number}")
    assert grammars.regex("a0") is not first


def random_llm(end_ids: tuple[int, ...] = (END,), **options) -> Llama:
    return Llama(PagedModel(num_blocks=80, vocab_size=V), TOKENIZER, end_ids=end_ids, **options)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {}, {"top_k": 40, "min_p": 0.1}])
def test_a_random_model_writes_what_the_schema_says(settings):
    with random_llm() as llm:
        mask = llm.grammars.json_schema(BOUNDED).mask()
        prompts = [[number] for number in range(1, 7)]
        texts = set()
        for completion in llm.generate(
            prompts, SamplingParams(seed=3, **settings), logit_mask=mask
        ):
            assert completion.finish_reason == "stop"
            assert completion.token_ids[-1] == END
            check_bounded(completion.text)
            texts.add(completion.text)
        assert len(texts) == len(prompts)


@pytest.mark.parametrize("stop_token_ids", [None, ()])
def test_without_end_tokens_the_text_ends_with_its_grammar(stop_token_ids):
    params = SamplingParams(seed=1, stop_token_ids=stop_token_ids)
    with random_llm(end_ids=()) as llm:
        grammar = llm.grammars.json_schema(BOUNDED)
        completion = llm.generate([5], params, logit_mask=grammar.mask())
        assert completion.finish_reason == "stop"
        assert completion.token_ids[-1] == ord("}")
        check_bounded(completion.text)
        stopped = SamplingParams(seed=1, stop_token_ids=stop_token_ids, stop=('"kind"',))
        completion = llm.generate([5], stopped, logit_mask=grammar.mask())
        assert completion.text.endswith(", ") or completion.text.endswith(",")


@pytest.mark.parametrize("end_ids", [(END,), ()])
@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {}])
def test_guesses_change_no_text(settings, end_ids):
    cheap = StepCosts(((1, 1.0), (2, 1.001)))
    texts, accepted = [], 0
    for speculator in (None, Speculator(Lookup(), cheap, most=5)):
        with random_llm(end_ids, speculator=speculator) as llm:
            mask = llm.grammars.regex(r'(\{"name": [0-9], "kind": "cat"\},\n){5}').mask()
            params = SamplingParams(seed=2, **settings)
            done = llm.generate([[3], [4], [5]], params, logit_mask=mask)
            texts.append([completion.text for completion in done])
            accepted += sum(completion.stats.accepted_draft_tokens for completion in done)
    assert texts[0] == texts[1]
    assert all(text.count("cat") == 5 for text in texts[0])
    assert accepted > 20


def test_grammars_need_a_tokenizer():
    with Llama(PagedModel(), None) as llm, pytest.raises(TokenizerError):
        _ = llm.grammars
