"""Renders a chat template as transformers does: in Jinja2's immutable sandbox, same options.

What a template finds there: `{% break %}` and `{% continue %}`, `{% generation %}` blocks (they
mark the assistant's text for training and change nothing here), a `tojson` that leaves characters
as they are, `raise_exception(message)` and `strftime_now(format)`.
"""

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """The template does not take these messages; the text is its own message."""


def render(source: str, values: Mapping[str, Any]) -> str:
    """The text that a template makes of its values, which are plain JSON data.

    Raises `Refused` where it calls `raise_exception`, `jinja2.TemplateError` where it is damaged
    or reaches for what the sandbox keeps from it, and whatever its own expressions raise.
    """
    return _compiled(source).render(values)


@functools.lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


class _Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: what is inside, in a scope of its own."""

    tags = {"generation"}  # noqa: RUF012 - as Extension declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: object) -> NoReturn:
    raise Refused(_one_line(message))


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def reason_of(error: BaseException) -> str:
    """Why a rendering failed, in one line."""
    text = _one_line(error).rstrip(".")
    if isinstance(error, TemplateSyntaxError):
        return f"line {error.lineno}: {text}"
    if isinstance(error, TemplateError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _one_line(message: object) -> str:
    """A stranger's text as a terminal may show it."""
    line = " ".join(str(message).split())[:300]
    return "".join(character for character in line if character.isprintable())
