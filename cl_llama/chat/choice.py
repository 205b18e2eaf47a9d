"""Which template is meant: a name, a file, a template itself, or nothing, the model's own."""

from collections.abc import Mapping
from pathlib import Path

from cl_llama.chat.builtin import BUILTIN
from cl_llama.chat.files import DEFAULT, read_template
from cl_llama.errors import ChatTemplateError


def choose_templates(
    wanted: str | None, templates: Mapping[str, str], builtin: str | None = None
) -> Mapping[str, str]:
    """The templates to use; empty if there is none.

    wanted: the name of one of the model's own templates or of a built-in one (llama2, llama3,
    chatml), a template's text, or a file that holds one; None: the model's own.
    templates: the model's own. builtin: the name of the one for a model that brings none.

    Raises ChatTemplateError where nothing is found by that name.
    """
    if wanted is None:
        return templates if templates or builtin is None else {DEFAULT: BUILTIN[builtin]}
    if wanted in templates:
        return {DEFAULT: templates[wanted]}
    if wanted in BUILTIN:
        return {DEFAULT: BUILTIN[wanted]}
    if "{{" in wanted or "{%" in wanted:
        return {DEFAULT: wanted}
    file = Path(wanted).expanduser()
    if file.is_file():
        return {DEFAULT: read_template(file)}
    raise ChatTemplateError(
        f"chat_template (--chat-template): {wanted[:200]!r} is no file, no template and no name; "
        f"expected one of them ({', '.join([*templates, *BUILTIN])})"
    )
