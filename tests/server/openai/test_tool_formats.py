"""Which format a template teaches, and what its grammar allows."""

import json

import pytest

from cl_llama.chat import ChatTemplate
from cl_llama.errors import RequestError
from cl_llama.grammar import GrammarCompiler
from cl_llama.server.openai.tools.definitions import FunctionDefinition
from cl_llama.server.openai.tools.detection import special_markers, template_format
from cl_llama.server.openai.tools.formats import (
    HERMES,
    JSON,
    LLAMA,
    MISTRAL,
    MISTRAL_V11,
    NAME,
    ToolFormat,
)
from cl_llama.server.openai.tools.grammar import tool_grammar
from cl_llama.server.openai.tools.instructions import with_instructions
from tests.server.openai.byte_model import EOS, VOCAB_SIZE, ByteTokenizer
from tests.server.openai.test_tool_parser import FORMATS

FUNCTIONS = [
    FunctionDefinition(
        name="look_up",
        parameters={"properties": {"city": {"enum": ["Köln", "Rom"]}}, "required": ["city"]},
    ),
    FunctionDefinition(name="stop"),
]


def written(pattern: str):
    """A template in Python: the tools, then each call as the pattern has it."""

    def render(messages, tools=(), **values):
        calls = [call for message in messages for call in message.get("tool_calls", ())]
        return json.dumps(tools) + "".join(
            pattern.replace("NAME", call["function"]["name"]).replace(
                "ARGUMENTS", json.dumps(call["function"]["arguments"])
            )
            for call in calls
        )

    return render


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('<tool_call>\n{"name": "NAME", "arguments": ARGUMENTS}\n</tool_call>', HERMES),
        ('[TOOL_CALLS] [{"name": "NAME", "arguments": ARGUMENTS, "id": "1"}]', MISTRAL),
        ("[TOOL_CALLS]NAME[CALL_ID]1[ARGS]ARGUMENTS", MISTRAL_V11),
        ('{"name": "NAME", "parameters": ARGUMENTS}', LLAMA),
        ('```{"name": "NAME", "arguments": ARGUMENTS}```', JSON),
        ("<tool_call>NAME<arg>ARGUMENTS</tool_call>", None),
        ("", None),
    ],
)
def test_the_format_is_known_by_what_a_template_writes(pattern, expected):
    assert template_format(written(pattern)) == expected


def test_templates_without_tools():
    assert template_format(lambda messages, **values: "no tools") is None

    def refuse(messages, **values):
        raise RequestError("chat: the template refuses these messages")

    assert template_format(refuse) is None


@pytest.mark.parametrize(
    ("name", "expected", "parallel"),
    [
        ("Qwen-Qwen2.5-7B-Instruct", "hermes", True),
        ("meta-llama-Llama-3.1-8B-Instruct", "llama", False),
        ("zephyr", None, None),
        ("llama-2-chat", None, None),
        ("chatml", None, None),
    ],
)
def test_templates_of_models(shared_data, name, expected, parallel):
    source = shared_data(f"chat_templates/{name}.jinja").read_text(encoding="utf-8")
    template = ChatTemplate({"default": source}, {"bos_token": "<s>", "eos_token": "</s>"})
    found = template_format(template.render)
    template.close()
    assert (found and found.name, found and found.parallel) == (expected, parallel)


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(ByteTokenizer(), VOCAB_SIZE)


def call_of(tool_format: ToolFormat, *calls: tuple[str, str]) -> str:
    written = [
        tool_format.head.replace(NAME, name) + arguments + tool_format.tail
        for name, arguments in calls
    ]
    opening = "" if tool_format.bare else tool_format.opening
    return opening + tool_format.lead + tool_format.between.join(written) + tool_format.end


@pytest.mark.parametrize(
    ("tool_format", "special"),
    [
        *(pytest.param(one, False, id=one.name) for one in FORMATS),
        *(
            pytest.param(one, True, id=f"{one.name}, special")
            for one in (MISTRAL, MISTRAL_V11, LLAMA)
        ),
    ],
)
def test_what_an_answer_may_be(compiler: GrammarCompiler, tool_format: ToolFormat, special: bool):
    tokenizer = ByteTokenizer()
    marker_ids = special_markers(tool_format, tokenizer) if special else {}
    assert bool(marker_ids) == special

    def may(text: str, required: bool, parallel: bool = True) -> bool:
        """Whether the text may be an answer, from its beginning to its end."""
        grammar = tool_grammar(
            tool_format, FUNCTIONS, marker_ids, required=required, parallel=parallel
        )
        mask = compiler.lark(grammar).mask()
        ids = [*tokenizer.encode(text, special=special), EOS]
        return all(mask(ids[:count])[ids[count]] for count in range(len(ids)))

    one = call_of(tool_format, ("look_up", '{"city": "Köln"}'))
    two = call_of(tool_format, ("look_up", '{"city":"Rom"}'), ("stop", "{}"))
    wrong = call_of(tool_format, ("look_up", '{"city": "Bonn"}'))
    unknown = call_of(tool_format, ("nothing", "{}"))
    for required in (True, False):
        assert may(one, required) and may(two, required) and may(one, required, parallel=False)
        assert may(" " + one, required)
        assert not may(two, required, parallel=False)
        assert not any(may(text, required) for text in (wrong, unknown, one + " and text"))
    for text in ("", "text", " no\n{calls}", "Well: " + one):
        assert may(text, required=False), text
        assert not may(text, required=True), text
    if special and tool_format.bare:
        assert may(tool_format.opening + one, True) and may(
            "Well" + tool_format.opening + two, False
        )


def test_a_schema_that_is_not_strict_may_have_unknown_words(compiler: GrammarCompiler):
    def compiled(strict: bool) -> object:
        parameters = {"properties": {"a": {"not": {"type": "string"}}}}
        function = FunctionDefinition(name="f", parameters=parameters, strict=strict)
        grammar = tool_grammar(HERMES, [function], {}, required=True, parallel=True)
        return compiler.lark(grammar)

    assert compiled(strict=False)
    with pytest.raises(RequestError, match=r'Unimplemented keys: \["not"\]'):
        compiled(strict=True)


def test_instructions_for_templates_without_tools():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"ä": 1}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call, call]},
        {"role": "tool", "content": "one", "tool_call_id": "1"},
        {"role": "tool", "content": "two", "tool_call_id": "1"},
    ]
    system, question, answer, results = with_instructions(messages, [{"name": "f"}])
    assert system["content"].startswith("Be brief.\n\nYou may call functions")
    assert '<tools>\n{"name": "f"}\n</tools>' in system["content"]
    assert question == messages[1]
    shown = '<tool_call>\n{"name": "f", "arguments": {"ä": 1}}\n</tool_call>'
    assert answer == {"role": "assistant", "content": f"Let me see.\n{shown}\n{shown}"}
    response = "<tool_response>\n{}\n</tool_response>".format
    assert results == {"role": "user", "content": response("one") + "\n" + response("two")}
    assert with_instructions(messages[1:2], []) == messages[1:2]
