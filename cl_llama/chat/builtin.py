"""Templates for models whose files bring none: Llama 2's and 3's chats, and ChatML.

The formats are those of Meta's reference code for Llama 2 (`chat_completion`) and Llama 3
(`ChatFormat`), and of OpenAI's ChatML.
"""

_LLAMA2 = """\
{%- set system = namespace(text="") -%}
{%- if messages and messages[0]["role"] == "system" -%}
    {%- set system.text = "<<SYS>>\\n" + messages[0]["content"] + "\\n<</SYS>>\\n\\n" -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
    {%- if message["role"] != ("user", "assistant")[loop.index0 % 2] -%}
        {{- raise_exception("Llama 2 takes a system message at the beginning only, then user and "
                            ~ "assistant in turn") -}}
    {%- endif -%}
    {%- if message["role"] == "user" -%}
        {{- bos_token + "[INST] " + (system.text + message["content"]) | trim + " [/INST]" -}}
        {%- set system.text = "" -%}
    {%- else -%}
        {{- " " + message["content"] | trim + " " + eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

_LLAMA3 = """\
{{- bos_token -}}
{%- for message in messages -%}
    {{- "<|start_header_id|>" + message["role"] + "<|end_header_id|>\\n\\n" -}}
    {{- message["content"] | trim + "<|eot_id|>" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" -}}
{%- endif -%}
"""

_CHATML = """\
{%- for message in messages -%}
    {{- "<|im_start|>" + message["role"] + "\\n" + message["content"] + "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
"""

BUILTIN = {"llama2": _LLAMA2, "llama3": _LLAMA3, "chatml": _CHATML}
"""By the name that `--chat-template` takes."""
