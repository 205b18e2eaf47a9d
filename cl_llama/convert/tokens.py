"""A tokenizer's tokens as GGUF lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cl_llama.checkpoints.gguf_writer import Value

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of tokens."""


@dataclass(frozen=True)
class Tokens:
    """A vocabulary: SentencePiece's with scores ("llama"), or byte-level BPE with merges ("gpt2").

    `pieces`, `types` and `scores` are by id. `pre` names the rule that splits a text before its
    bytes are merged. `end_ids` end a text or a turn, the first one above all.
    """

    model: Literal["llama", "gpt2"]
    pieces: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float] | None = None
    merges: Sequence[str] | None = None
    pre: str = "default"
    unknown_id: int | None = None
    bos_id: int | None = None
    end_ids: tuple[int, ...] = ()
    adds_bos: bool = True
    adds_space: bool = False
    chat_template: str | None = None

    def metadata(self, vocab_size: int) -> dict[str, Value]:
        """GGUF's entries; the vocabulary is filled up with unused tokens to the model's size."""
        spare = range(len(self.pieces), vocab_size)
        types = [*self.types, *(UNUSED for _ in spare)]
        entries: dict[str, Value] = {
            "tokenizer.ggml.model": self.model,
            "tokenizer.ggml.pre": self.pre,
            "tokenizer.ggml.tokens": [*self.pieces, *(f"[PAD{i}]" for i in spare)],
            "tokenizer.ggml.token_type": np.array(types, "<i4"),
            "tokenizer.ggml.add_bos_token": self.adds_bos,
            "tokenizer.ggml.add_eos_token": False,
        }
        if self.scores is not None:
            scores = [*self.scores, *(-1e4 for _ in spare)]
            entries["tokenizer.ggml.scores"] = np.array(scores, "<f4")
            entries["tokenizer.ggml.add_space_prefix"] = self.adds_space
        if self.merges is not None:
            entries["tokenizer.ggml.merges"] = list(self.merges)
        if self.chat_template is not None:
            entries["tokenizer.chat_template"] = self.chat_template
        for name, token_id in (
            ("unknown", self.unknown_id),
            ("bos", self.bos_id),
            ("eos", next(iter(self.end_ids), None)),
            ("eot", self.end_ids[-1] if len(self.end_ids) > 1 else None),
        ):
            if token_id is not None:
                entries[f"tokenizer.ggml.{name}_token_id"] = token_id
        return entries
