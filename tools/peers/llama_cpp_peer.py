"""llama.cpp through llama-cpp-python's bindings of its C interface, as llama-bench measures it.

A prompt is one batch of at most 512 tokens with the logits of the last; decoding gives one token a
call. The weights are a GGUF file: of f16 matrices, which `write_gguf.py` makes, or quantised, which
bench_peers.py does.
"""

import ctypes
import importlib.metadata
import time
from pathlib import Path
from typing import Any

import llama_cpp
from protocol import prompts, serve
from write_gguf import gguf_file


class LlamaCpp:
    """A context over the GGUF file."""

    def __init__(self, settings: dict[str, Any]) -> None:
        form = settings.get("quantize")
        if form is None:
            path = gguf_file(settings["folder"])
        else:
            path = Path(settings["folder"]) / f"model-{form}.gguf"
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = settings["longest"] + 32
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = settings["threads"]
        self._context = llama_cpp.llama_init_from_model(model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp makes no context over {path}")
        vocab = llama_cpp.llama_model_get_vocab(model)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)
        self._prompt = prompts(self._vocab_size)
        version = importlib.metadata.version("llama-cpp-python")
        self.description = f"llama-cpp-python {version}, {form or 'f16'}"

    def prefill(self, tokens: int) -> float:
        """Seconds from a new prompt to its first token."""
        ids = self._prompt(tokens)
        self._clear()
        began = time.perf_counter()
        self._run(ids)
        self._best()
        return time.perf_counter() - began

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of greedy steps after `depth` tokens."""
        self._clear()
        self._run(self._prompt(max(depth, 1)))
        token = self._best()
        began = time.perf_counter()
        for _ in range(tokens):
            self._run([token])
            token = self._best()
        return time.perf_counter() - began

    def _clear(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _run(self, ids: list[int]) -> None:
        for start in range(0, len(ids), 512):
            piece = ids[start : start + 512]
            array = (llama_cpp.llama_token * len(piece))(*piece)
            batch = llama_cpp.llama_batch_get_one(array, len(piece))
            if llama_cpp.llama_decode(self._context, batch):
                raise RuntimeError("llama_decode failed")

    def _best(self) -> int:
        """The id of the largest logit; waits for them."""
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        row = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * self._vocab_size)).contents
        import numpy as np

        return int(np.frombuffer(row, np.float32).argmax())


if __name__ == "__main__":
    serve(LlamaCpp)
