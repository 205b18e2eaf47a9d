"""All tokens' probabilities as a line of JSON."""

import json
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cl_llama.llm import Llama

PART = 2**16
"""Bytes of a line that are handed on at a time."""


class Probabilities:
    """Writes the lines for one model. Safe to use from several threads."""

    def __init__(self, llm: Llama) -> None:
        self._llm = llm
        self._lock = threading.Lock()
        self._before: list[str] = []
        self._after: list[str] = []

    def line(self, logits_V: NDArray[np.float32]) -> list[bytes]:
        """{"<piece>": {"p": ...}, ...} and a line break, in parts; one key for every token."""
        with self._lock:
            if not self._before:
                self._spell()
        weights_V = np.exp(logits_V.astype(np.float64) - float(logits_V.max()))
        p_V = (weights_V / weights_V.sum()).tolist()
        triples = zip(self._before, map(repr, p_V), self._after, strict=True)
        text = "".join(part for triple in triples for part in triple).encode()
        return [text[start : start + PART] for start in range(0, len(text), PART)]

    def _spell(self) -> None:
        """What stands before and after each probability: the same in all lines."""
        tokenizer, end_ids = self._llm.tokenizer, self._llm.engine.end_ids
        pieces = [tokenizer.piece(i) for i in range(self._llm.config.vocab_size)]
        after = []
        for token_id, key in enumerate(distinct(pieces)):
            self._before.append(f'{"," if token_id else "{"}{_json(key)}:{{"p":')
            after.append(',"is_end_token":true}' if token_id in end_ids else "}")
        after[-1] += "}\n"
        self._after = after


def distinct(pieces: Sequence[str]) -> Iterator[str]:
    """The pieces, no two alike: the first of equal ones as it is, further ones with "#id".

    Where another piece is spelled so, more "#" go between.
    """
    taken = set(pieces)
    seen: set[str] = set()
    for token_id, piece in enumerate(pieces):
        key = piece
        if piece in seen:
            mark = "#"
            while (key := f"{piece}{mark}{token_id}") in taken:
                mark += "#"
            taken.add(key)
        seen.add(piece)
        yield key


def _json(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 does not have
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)
