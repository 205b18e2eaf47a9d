"""The options that hold a text to a form: JSON, a JSON schema, a grammar."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cl_llama.errors import GrammarError

if TYPE_CHECKING:
    from cl_llama.grammar import Grammar, GrammarCompiler


def add_grammar_options(group: "argparse._ArgumentGroup") -> None:
    """Add the options, of which one may be given."""
    forms = group.add_mutually_exclusive_group()
    forms.add_argument("--json-object", action="store_true", help="the text is a JSON object")
    forms.add_argument(
        "--json-schema", metavar="FILE", help="the text is JSON that is valid by a JSON schema"
    )
    forms.add_argument(
        "--grammar",
        metavar="FILE",
        help="the text follows a grammar: GBNF if the file's name ends in .gbnf or it has ::= in "
        "it, else Lark",
    )


def read_grammar(args: argparse.Namespace) -> "Callable[[GrammarCompiler], Grammar] | None":
    """How to compile what the options ask for, its file read; None: they ask for nothing.

    Raises GrammarError, here and in what is returned, naming the option.
    """
    if args.json_object:
        return lambda grammars: grammars.json_object()
    if args.json_schema is not None:
        schema = _read(f"--json-schema {args.json_schema}", args.json_schema)
        return _named("--json-schema", lambda grammars: grammars.json_schema(schema))
    if args.grammar is not None:
        text = _read(f"--grammar {args.grammar}", args.grammar)
        suffix = Path(args.grammar).suffix.lower()
        if suffix == ".gbnf" or (suffix != ".lark" and "::=" in text):
            return _named("--grammar", lambda grammars: grammars.gbnf(text))
        return _named("--grammar", lambda grammars: grammars.lark(text))
    return None


def _read(source: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GrammarError(
            f"{source}: expected UTF-8 text, got a bad byte at {error.start}"
        ) from None
    except (OSError, ValueError) as error:
        raise GrammarError(f"{source}: {getattr(error, 'strerror', None) or error}") from None


def _named(
    option: str, compiled: "Callable[[GrammarCompiler], Grammar]"
) -> "Callable[[GrammarCompiler], Grammar]":
    def compile_grammar(grammars: "GrammarCompiler") -> "Grammar":
        try:
            return compiled(grammars)
        except GrammarError as error:
            raise GrammarError(f"{option}: {error}") from None

    return compile_grammar
