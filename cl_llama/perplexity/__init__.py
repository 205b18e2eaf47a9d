"""How well a model predicts a text: perplexity, and the divergence of one model from another.

Windows are counted, scored and kept in files as llama.cpp does, so that figures can be compared.
"""

from cl_llama.perplexity.divergence import Divergence
from cl_llama.perplexity.logits_file import LogitsReader, LogitsWriter
from cl_llama.perplexity.measure import compare, measure
from cl_llama.perplexity.statistics import Perplexity
from cl_llama.perplexity.windows import Windows, cut_windows, with_bos

__all__ = [
    "Divergence",
    "LogitsReader",
    "LogitsWriter",
    "Perplexity",
    "Windows",
    "compare",
    "cut_windows",
    "measure",
    "with_bos",
]
