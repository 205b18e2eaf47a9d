"""PyTorch with Hugging Face's transformers: the model's forward pass with its own cache."""

import time
from typing import Any

import torch
import transformers
from protocol import prompts, serve


class Torch:
    """The checkpoint in the folder, in one data type."""

    def __init__(self, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        dtype = settings["dtype"]
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            settings["folder"], dtype=getattr(torch, dtype)
        ).eval()
        self._prompt = prompts(self._model.config.vocab_size)
        self.description = f"torch {torch.__version__}, transformers {transformers.__version__}"

    @torch.inference_mode()
    def prefill(self, tokens: int) -> float:
        """Seconds from a new prompt to its first token."""
        ids = torch.tensor([self._prompt(tokens)])
        began = time.perf_counter()
        self._run(ids, None)
        return time.perf_counter() - began

    @torch.inference_mode()
    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of greedy steps after `depth` tokens."""
        token, cache = self._run(torch.tensor([self._prompt(max(depth, 1))]), None)
        began = time.perf_counter()
        for _ in range(tokens):
            token, cache = self._run(token, cache)
        return time.perf_counter() - began

    def _run(self, ids: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
        """The next token [1, 1] and the cache with the ids in it."""
        out = self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1:].argmax(-1)
        token.item()
        return token, out.past_key_values


if __name__ == "__main__":
    serve(Torch)
