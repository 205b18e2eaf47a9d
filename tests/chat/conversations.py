"""Conversations and templates whose renderings by transformers are in renderings.json.

Real models' templates are not part of the suite: of their renderings it has the SHA-256.

`python -m tests.chat.conversations DATA`, where transformers is installed and DATA is the folder of
real test data, writes that file.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RENDERINGS = Path(__file__).with_name("renderings.json")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

# Each uses what the others do not: white space around blocks, loop controls, JSON, namespaces,
# generation blocks, undefined names, filters and tests.
TEMPLATES = {
    "blocks": """\
{% for message in messages %}
    {% if message.role == 'user' %}
    [{{ message['content'] }}]
    {% else %}
        {# not said #}
  <{{ message.content }}>{{ eos_token }}

    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
answer:
{% endif %}
""",
    "controls": """\
{{- bos_token }}{% set seen = namespace(count=0) %}
{%- for message in messages -%}
    {%- if message.role == 'system' %}{% continue %}{% endif -%}
    {%- set seen.count = seen.count + 1 -%}
    {%- if seen.count > 2 %}{% break %}{% endif -%}
    {{ loop.index }}:{{ message.content | trim | upper }};
{%- endfor -%}
{{ ' %d' | format(seen.count) }} {{ pad_token is defined }} {{ missing }}|""",
    "json": """\
{{ messages | tojson }}
{{ messages[-1] | tojson(indent=2) }}
{{ {'b': 1, 'a': '<é&>'} | tojson(sort_keys=True, separators=(',', ':')) }}
{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}
{% if documents %}{{ documents[0].title }}{% endif %}""",
    "generation": """\
{% for message in messages %}
{% if message.role == 'assistant' %}
{% generation %}
{% set said = message.content %}
A: {{ said }}
{% endgeneration %}
{{- said is defined }}
{% else %}
Q: {{ message.content }}
{% endif %}
{% endfor %}
""",
}
SHARED = [
    "Qwen-Qwen2.5-7B-Instruct",
    "chatml",
    "llama-2-chat",
    "meta-llama-Llama-3.1-8B-Instruct",
    "zephyr",
]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"city": {"type": "string"}}},
}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "turns": {
        "messages": [
            {"role": "system", "content": " Be brief.\n"},
            {"role": "user", "content": '  What is <é> & "ß"?\n\n'},
            {"role": "assistant", "content": "Letters. "},
            {"role": "user", "content": "日本語 {{ no }} template"},
        ],
        "add_generation_prompt": True,
    },
    "no system, no prompt": {
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
        ],
        "add_generation_prompt": False,
    },
    "tools": {
        "messages": [{"role": "user", "content": "Weather in Köln?"}],
        "tools": [TOOL],
        "documents": [{"title": "Köln", "text": "A city."}],
        "add_generation_prompt": True,
    },
}


def cases(data: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, template and values of each rendering; those of real templates where they lie."""
    templates = dict(TEMPLATES)
    for name in SHARED:
        file = data / "chat_templates" / f"{name}.jinja"
        if file.is_file():
            templates[name] = file.read_text(encoding="utf-8")
    config = data / "tinyllama-chat" / "tokenizer_config.json"
    if config.is_file():
        templates["tinyllama-chat"] = json.loads(config.read_text())["chat_template"]
    for name, template in templates.items():
        for what, values in CONVERSATIONS.items():
            yield f"{name}: {what}", template, TOKENS | values


def by_transformers(template: str, values: dict[str, Any]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    settings = dict(values)
    texts, _ = render_jinja_template([settings.pop("messages")], chat_template=template, **settings)
    return texts[0]


def recorded(name: str, text: str) -> str:
    """What stands in renderings.json for a case's text."""
    own = name.partition(":")[0] in TEMPLATES
    return text if own else hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    found = cases(Path(sys.argv[1]))
    texts = {name: recorded(name, by_transformers(*case)) for name, *case in found}
    RENDERINGS.write_text(json.dumps(texts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
