"""Tokenizers: SentencePiece, tiktoken, tokenizer.json, llama2.c, GGUF, behind a small protocol."""

from cl_llama.tokenizers.loading import load_tokenizer
from cl_llama.tokenizers.protocol import Tokenizer
from cl_llama.tokenizers.streaming import StreamDecoder

__all__ = ["StreamDecoder", "Tokenizer", "load_tokenizer"]
