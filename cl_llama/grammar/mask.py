"""A compiled grammar, and what it allows one request after each of its tokens."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.errors import GrammarError

_MAX_REASON = 300
_DEAD_END = "no token of the vocabulary can follow"


class Grammar:
    """A grammar compiled for a vocabulary; may be shared between threads."""

    def __init__(
        self, matcher: Any, token_count: int, vocab_size: int, end_ids: Collection[int]
    ) -> None:
        """Made by `GrammarCompiler`.

        matcher: llguidance's, before the first token; token_count: tokens of the tokenizer, and
        the id that stands for the end there; vocab_size: V of the model's logits; end_ids: the
        tokens that end a text unless a request names its own.
        """
        self._matcher = matcher
        self.token_count = token_count
        self.vocab_size = vocab_size
        self.end_ids = end_ids

    def mask(self) -> "GrammarMask":
        """A mask for a request, which knows of no token yet."""
        return GrammarMask(self, self.end_ids)

    def start(self) -> Any:
        """llguidance's matcher before the first token, the caller's own."""
        return self._matcher.deep_copy()


class GrammarMask:
    """A `LogitMask`: which tokens may come next, given those that were generated so far.

    It may be asked as often as one likes, and go back to an earlier token.
    """

    def __init__(self, grammar: Grammar, end_ids: Collection[int]) -> None:
        """`end_ids`: allowed when the grammar is complete, and not before."""
        self._grammar = grammar
        known = [token_id for token_id in end_ids if token_id < grammar.vocab_size]
        self._end_ids = np.array(known, dtype=np.intp)
        self._matcher = grammar.start()
        self._read: tuple[int, ...] = ()
        self._allowed_V: NDArray[np.bool_] | None = None

    def ending_with(self, end_ids: Collection[int]) -> "GrammarMask":
        """A mask of the same grammar for a request that ends with other tokens, or with none.

        Without end tokens, the text is to end as soon as `is_finished`.
        """
        return GrammarMask(self._grammar, end_ids)

    def __call__(self, generated: Sequence[int]) -> NDArray[np.bool_]:
        """bool [V]; GrammarError if no token can follow, or the grammar grew too complex."""
        self._read_up_to(generated)
        if self._allowed_V is None:
            self._allowed_V = self._compute()
        return self._allowed_V

    def is_finished(self, generated: Sequence[int]) -> bool:
        """Whether the grammar is complete with these tokens and allows no further one."""
        self._read_up_to(generated)
        return bool(self._matcher.is_accepting() and self._matcher.is_stopped())

    def _read_up_to(self, generated: Sequence[int]) -> None:
        """Bring the matcher to where it has read these tokens."""
        tokens = tuple(generated)
        count = len(self._read)
        if tokens == self._read:
            return
        if tokens[:count] != self._read:
            self._matcher, count = self._grammar.start(), 0
        for token_id in tokens[count:]:
            if not self._matcher.consume_token(token_id):
                self._matcher, self._read, self._allowed_V = self._grammar.start(), (), None
                raise GrammarError(f"grammar: token {token_id} does not follow it")
        self._read, self._allowed_V = tokens, None

    def _compute(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise GrammarError(
                f"grammar: {what_is_wrong(self._matcher)} after {len(self._read)} tokens"
            )
        end = self._grammar.token_count
        allowed = np.unpackbits(bits, count=end + 1, bitorder="little").view(np.bool_)
        allowed_V = np.zeros(self._grammar.vocab_size, dtype=np.bool_)
        allowed_V[:end] = allowed[:end]
        allowed_V[self._end_ids] = allowed[end]
        if not allowed_V.any():
            raise GrammarError(f"grammar: {_DEAD_END} after {len(self._read)} tokens")
        allowed_V.flags.writeable = False
        return allowed_V


def what_is_wrong(matcher: Any) -> str:
    """What stopped llguidance's matcher, in one line."""
    reason = one_line(matcher.get_error())
    return _DEAD_END if reason.startswith("NoExtension") else reason


def one_line(reason: str) -> str:
    """A message of llguidance's without the source and the state that it shows below."""
    lines = [line.strip() for line in reason.partition("<state>")[0].splitlines()]
    said = [line for line in lines if line and not _is_picture(line)]
    text = " ".join(said)
    return text if len(text) <= _MAX_REASON else text[:_MAX_REASON] + "..."


def _is_picture(line: str) -> bool:
    number, bar, _ = line.partition(" |")
    return (bool(bar) and number.isdigit()) or line in ("^", "<non-verbose/>")
