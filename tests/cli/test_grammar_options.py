"""`--json-object`, `--json-schema`, `--grammar`: the text has the form, or a line says why not."""

import json

import pytest


@pytest.mark.parametrize("ending", [(), ("--ignore-eos",)])
def test_the_text_has_the_form(generate, tmp_path, ending):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"enum": ["Größe", {"a": [1, "x"]}]}))
    words = (*ending, "--max-new-tokens", 60, "--prompt", "Once")
    assert json.loads(generate("--json-schema", schema, *words).out) in ("Größe", {"a": [1, "x"]})
    chat = ("--chat", "--chat-template", "chatml")
    answer = json.loads(generate("--json-schema", schema, *words, *chat, "--json").out)
    assert json.loads(answer["text"]) in ("Größe", {"a": [1, "x"]})
    assert answer["finish_reason"] == "stop"
    for name, text in {
        "bits.gbnf": 'root ::= [01]{7} "."',
        "bits.txt": 'root ::= [01]{7} "."',
        "bits.lark": 'start: /[01]{7}/ "." // ::=',
        "bits": 'start: /[01]{7}/ "."',
    }.items():
        (tmp_path / name).write_text(text)
        out = generate("--grammar", tmp_path / name, *words).out
        assert out.endswith(".\n") and len(out) == 9 and set(out[:7]) <= {"0", "1"}


def test_a_json_object(generate):
    out = generate("--json-object", "--max-new-tokens", 20, "--prompt", "Once").out
    assert out.startswith("{")


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("--json-schema", None, "No such file"),
        ("--grammar", b"\xff", "expected UTF-8 text, got a bad byte at 0"),
        ("--json-schema", b'{"type": "frob"}', "--json-schema: JSON schema: Invalid type: frob"),
        ("--grammar", b'root ::= "a" b', "--grammar: GBNF grammar: Rule 'b' not found"),
        ("--grammar", b"start: b", "--grammar: Lark grammar: "),
    ],
)
def test_a_form_that_is_wrong_is_one_line(generate, tmp_path, option, content, said):
    file = tmp_path / "form"
    if content is not None:
        file.write_bytes(content)
    ended = generate(option, file)
    assert (ended.status, ended.out) == (1, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1


def test_one_form_at_a_time(generate):
    ended = generate("--json-object", "--grammar", "x")
    assert ended.status == 2
    assert "not allowed with argument --json-object" in ended.err
