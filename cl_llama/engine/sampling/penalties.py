"""Penalties on tokens that came before, one by one.

Sources: repetition penalty: CTRL (arXiv 1909.05858) as Hugging Face and llama.cpp apply it;
presence and frequency penalty: OpenAI's API.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.params import SamplingParams


class Penalties:
    """What one request has seen: its prompt, and how often it generated each token."""

    def __init__(self, params: SamplingParams, prompt_ids: Sequence[int], vocab_size: int) -> None:
        """Before the first step."""
        self._params = params
        self._seen_V = np.zeros(vocab_size, dtype=np.bool_)
        self._seen_V[np.asarray(prompt_ids, dtype=np.intp)] = True
        self._counts_V = np.zeros(vocab_size, dtype=np.int32)

    def record(self, token_id: int) -> None:
        """A token was generated."""
        self._seen_V[token_id] = True
        self._counts_V[token_id] += 1

    def apply(self, logits_V: NDArray[np.float64]) -> None:
        """Change the logits in place."""
        params = self._params
        seen = np.flatnonzero(self._seen_V)
        logits = logits_V[seen]
        penalty = params.repetition_penalty
        logits = np.where(logits > 0, logits / penalty, logits * penalty)
        counts = self._counts_V[seen]
        logits -= params.presence_penalty * (counts > 0) + params.frequency_penalty * counts
        logits_V[seen] = logits
