"""Texts that follow a grammar: JSON, a JSON schema, Lark's and GBNF's grammars, expressions.

A grammar is compiled once for a model's vocabulary and gives each request a mask: which tokens may
come next, given those that came. The work is llguidance's, a package that is looked for when the
first grammar is compiled and not before.
"""

from cl_llama.grammar.compiler import GrammarCompiler
from cl_llama.grammar.mask import Grammar, GrammarMask

__all__ = ["Grammar", "GrammarCompiler", "GrammarMask"]
