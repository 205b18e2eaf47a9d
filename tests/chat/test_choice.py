"""Which template a model's files, or an argument, mean."""

import json

import pytest

from cl_llama.chat import ChatTemplate
from cl_llama.chat.builtin import BUILTIN
from cl_llama.chat.choice import choose_templates
from cl_llama.chat.files import read_templates
from cl_llama.errors import ChatTemplateError, RequestError

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello\n"},
    {"role": "assistant", "content": "Hi"},
    {"role": "user", "content": "How are you?"},
]


def config(folder, **entries):
    (folder / "tokenizer_config.json").write_text(json.dumps(entries))


def test_one_template_and_the_special_tokens(tmp_path):
    config(tmp_path, chat_template="T", bos_token={"content": "<s>"}, eos_token=None, pad_token="p")
    (tmp_path / "special_tokens_map.json").write_text('{"eos_token": "x", "unk_token": "?"}')
    found = read_templates(tmp_path)
    assert found.templates == {"default": "T"}
    tokens = {"bos_token": "<s>", "eos_token": None, "unk_token": "?", "pad_token": "p"}
    assert found.special_tokens == tokens


def test_a_list_of_named_templates(tmp_path):
    config(tmp_path, chat_template=[{"name": n, "template": n.upper()} for n in ("default", "rag")])
    assert read_templates(tmp_path).templates == {"default": "DEFAULT", "rag": "RAG"}


def test_files_of_their_own_come_before_the_configuration(tmp_path):
    config(tmp_path, chat_template="of the configuration")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    assert read_templates(tmp_path).templates == {"tool_use": "tools"}
    (tmp_path / "chat_template.jinja").write_text("é\n", encoding="utf-8")
    assert read_templates(tmp_path).templates == {"default": "é\n", "tool_use": "tools"}


def test_none(tmp_path):
    assert read_templates(tmp_path).templates == {}
    config(tmp_path, chat_template=None)
    assert read_templates(tmp_path).templates == {}


@pytest.mark.parametrize("entry", [3, {"name": "a"}, [{"name": "a"}], ["a"], [{"template": "a"}]])
def test_a_configuration_with_something_else(tmp_path, entry):
    config(tmp_path, chat_template=entry)
    with pytest.raises(ChatTemplateError, match='"chat_template": expected a template or a list'):
        read_templates(tmp_path)


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_damaged_files(tmp_path, data):
    (tmp_path / "tokenizer_config.json").write_bytes(data)
    with pytest.raises(ChatTemplateError, match=r"tokenizer_config.json: expected (a )?JSON"):
        read_templates(tmp_path)


def test_what_is_wanted(tmp_path):
    own = {"default": "mine", "rag": "rag"}
    assert choose_templates(None, own) is own
    assert choose_templates(None, own, "llama2") is own
    assert choose_templates(None, {}) == {}
    assert choose_templates(None, {}, "llama2") == {"default": BUILTIN["llama2"]}
    assert choose_templates("rag", own) == {"default": "rag"}
    assert choose_templates("chatml", own) == {"default": BUILTIN["chatml"]}
    assert choose_templates("{{ messages }}", own) == {"default": "{{ messages }}"}
    file = tmp_path / "one.jinja"
    file.write_text("of a file")
    assert choose_templates(str(file), own) == {"default": "of a file"}
    with pytest.raises(ChatTemplateError, match=r"'nothing' is no file, .*\(default, rag, llama2"):
        choose_templates("nothing", own)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "llama2",
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST] Hi </s>"
            "<s>[INST] How are you? [/INST]",
        ),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello\n<|im_end|>\n"
            "<|im_start|>assistant\nHi<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
    ],
)
def test_built_in_templates(name, expected):
    chat = ChatTemplate({"default": BUILTIN[name]}, {"bos_token": "<s>", "eos_token": "</s>"})
    assert chat.render(TURNS) == expected
    if name == "llama2":
        with pytest.raises(RequestError, match="user and assistant in turn"):
            chat.render(TURNS[2:])
        assert chat.render(TURNS[1:2]) == "<s>[INST] Hello [/INST]"
    chat.close()
