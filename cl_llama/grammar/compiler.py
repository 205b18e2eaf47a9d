"""Grammars of every notation, compiled for one vocabulary."""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from cl_llama.errors import GrammarError
from cl_llama.grammar.mask import Grammar, one_line, what_is_wrong
from cl_llama.grammar.vocabulary import guided_vocabulary, import_llguidance
from cl_llama.tokenizers import Tokenizer

MAX_CACHED = 64
"""Compiled grammars that are kept; the one not used for longest goes first."""

JSON_WHITESPACE = r"( |\n[ \t]{0,20})?"
"""Between two parts of JSON: nothing, a space, or a line break with up to 20 of indentation.

A weak model would go on with white space for ever where a grammar allows it.
"""

# A text is not forced into the tokens that the tokenizer would cut it into: the model chooses.
_OPTIONS = '\n%llguidance {"no_forcing": true}\n'


_LARK = "Lark grammar"
# Where in the Lark text something is wrong, of no use where the text was made here.
_PLACE = re.compile(r"^(at )?\d+\(\d+\): (failed to compile JSON schema: )?")


class GrammarCompiler:
    """Compiles grammars for a vocabulary and keeps them; safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """`vocab_size`: V of the model's logits, which may have rows past the tokenizer's."""
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._lock = threading.Lock()
        self._vocabulary: Any = None
        self._compiled: OrderedDict[str, Grammar] = OrderedDict()

    def json_object(self) -> Grammar:
        """Any JSON object."""
        return self.json_schema({"type": "object"})

    def json_schema(self, schema: Mapping[str, Any] | str) -> Grammar:
        """JSON that is valid by a schema, a mapping or JSON text.

        Properties come in the schema's order. GrammarError names keywords that have no meaning
        here, such as `not`, and schemas that nothing satisfies. An object's "x-guidance" has
        llguidance's options, such as "whitespace_pattern", `JSON_WHITESPACE` if it says nothing.
        """
        try:
            parsed = json.loads(schema) if isinstance(schema, str) else dict(schema)
            if isinstance(parsed, dict):
                given = parsed.get("x-guidance", {})
                parsed = parsed | {"x-guidance": {"whitespace_pattern": JSON_WHITESPACE} | given}
            text = json.dumps(parsed)
        except (TypeError, ValueError, RecursionError) as error:
            raise GrammarError(f"JSON schema: {_reason(error)}") from None
        if not isinstance(parsed, dict):
            raise GrammarError(f"JSON schema: expected an object, got {text:.60}")
        return self._compile("JSON schema", f"start: %json {text}")

    def lark(self, text: str) -> Grammar:
        """A grammar in Lark's notation as llguidance has it; it begins with the rule `start`."""
        return self._compile(_LARK, text)

    def gbnf(self, text: str) -> Grammar:
        """A grammar in llama.cpp's notation; it begins with the rule `root`."""
        import_llguidance()
        from llguidance.gbnf_to_lark import gbnf_to_lark

        return self._compile("GBNF grammar", _converted("GBNF grammar", gbnf_to_lark, text))

    def regex(self, pattern: str) -> Grammar:
        """Texts that are a match of an expression of Rust's regex crate, from end to end."""
        if not pattern:
            raise GrammarError("regular expression: it is empty")
        convert = import_llguidance().regex_to_lark
        body = _converted("regular expression", lambda text: str(convert(text, "")), pattern)
        return self._compile("regular expression", f"start: /{body}/")

    def _compile(self, what: str, text: str) -> Grammar:
        """The grammar of a text in Lark's notation; `what` is its name in errors."""
        key = f"{what}\n{text}"
        with self._lock:
            found = self._compiled.get(key)
            if found is not None:
                self._compiled.move_to_end(key)
                return found
            if self._vocabulary is None:
                self._vocabulary = guided_vocabulary(self._tokenizer)
        llguidance = import_llguidance()
        matcher = llguidance.LLMatcher(
            self._vocabulary,
            llguidance.LLMatcher.grammar_from_lark(text + _OPTIONS),
            log_level=0,
            limits=llguidance.LLParserLimits(verbose_errors=False),
        )
        if not matcher.is_error():
            matcher.compute_bitmask()  # so that the first request does not wait for it
        if matcher.is_error():
            reason = what_is_wrong(matcher)
            if what != _LARK:
                reason = _PLACE.sub("", reason)
            raise GrammarError(f"{what}: {reason}")
        tokenizer = self._tokenizer
        grammar = Grammar(matcher, tokenizer.vocab_size, self._vocab_size, tokenizer.eos_ids)
        with self._lock:
            self._compiled[key] = grammar
            if len(self._compiled) > MAX_CACHED:
                self._compiled.popitem(last=False)
        return grammar


def _converted(what: str, convert: Callable[[str], str], text: str) -> str:
    try:
        return convert(text)
    except Exception as error:  # the converter's own errors have no common class
        raise GrammarError(f"{what}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return one_line(str(error))
