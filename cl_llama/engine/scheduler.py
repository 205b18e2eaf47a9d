"""Which tokens of which sequences the next step runs.

Every step takes the running sequences in the order they came, each with as many of its uncomputed
tokens as chunk and step allow: a prompt's next chunk or the one token that was just generated,
there is no other difference. Then waiting sequences are admitted, first come first served, while
there is room in the step and blocks for all their tokens. A running sequence's demand never grows,
so whatever was admitted gets at least one token in every step.

When a growing sequence finds no block, the newest running one gives its blocks back and waits at
the head of the queue; later it is recomputed from its tokens, generated ones included. The oldest
sequence is never stopped by others, and any one sequence fits the pool alone, so all of them
finish.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cl_llama.engine.kv_cache import BlockPool, BlockTable
from cl_llama.models.batch import SequenceSlice


@dataclass(eq=False)
class Sequence:
    """Tokens to be computed, and how far that has come."""

    tokens: list[int]
    """The prompt and what was generated after it; the engine appends."""
    wants_all_rows: bool = False
    """The logits after every token are wanted, once each, and not only the last."""
    rows_are_states: bool = False
    """Of `wants_all_rows`: the last hidden states are wanted and not the logits."""
    computed: int = 0
    """Positions in the cache."""
    delivered: int = 0
    """Positions whose rows were handed over, for `wants_all_rows`, or are not wanted; the engine
    counts them."""
    table: BlockTable | None = None
    """Its cache blocks while it runs."""
    reused_tokens: int = 0
    """Prompt positions found in the cache when it was first admitted."""
    was_admitted: bool = False


@dataclass(frozen=True)
class Chunk:
    """Tokens [start, start + count) of a sequence, to be run in one step."""

    sequence: Sequence
    start: int
    count: int
    logits: Literal["none", "last", "all"]
    """Which rows of logits, or of states where these are wanted, the step returns for it."""
    guess: tuple[int, ...] = ()
    """Tokens that may come after its last one; they are run with it, and their rows wanted."""

    @property
    def logits_rows(self) -> int:
        """Rows of logits after every token that it takes; V numbers each."""
        return self.count if self.logits == "all" and not self.sequence.rows_are_states else 0

    def slice(self) -> SequenceSlice:
        """The chunk as the model takes it."""
        table = self.sequence.table
        assert table is not None
        states = self.sequence.rows_are_states and self.logits == "all"
        return SequenceSlice(
            token_ids=np.array(
                (*self.sequence.tokens[self.start : self.start + self.count], *self.guess),
                dtype=np.int32,
            ),
            start=self.start,
            block_table=np.array(table.blocks, dtype=np.int32),
            logits="all" if self.guess else "none" if states else self.logits,
            states=states,
        )


class Scheduler:
    """Queues of waiting and running sequences over one block pool."""

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_batch: int,
        step_tokens: int,
        prefill_chunk: int,
        all_rows: int,
        prefix_cache: bool = True,
    ) -> None:
        """At most `max_batch` sequences run at once and `step_tokens` >= max_batch tokens a step.

        A sequence gets at most `prefill_chunk` tokens a step; of the logits that are wanted after
        every token a step gives at most `all_rows`, because V logits per token need memory.
        prefix_cache: whether sequences share the blocks of a common prefix.
        """
        self.pool = pool
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0
        """Times that a sequence gave its blocks to an older one."""
        self._max_batch = max_batch
        self._step_tokens = max(step_tokens, max_batch)
        self._prefill_chunk = prefill_chunk
        self._all_rows = all_rows
        self._prefix_cache = prefix_cache

    @property
    def idle(self) -> bool:
        """Whether no sequence is running or waiting."""
        return not self.running and not self.waiting

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence whose tokens fit the pool when it is alone."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and its blocks back."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self._close(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks; empty only if no sequence is left."""
        chunks: list[Chunk] = []
        tokens, rows = self._step_tokens, self._all_rows

        def run(sequence: Sequence) -> None:
            nonlocal tokens, rows
            count = self._count(sequence, tokens, rows)
            if count:
                chunks.append(_chunk(sequence, count))
                tokens -= count
                rows -= chunks[-1].logits_rows

        position = 0
        while position < len(self.running):
            sequence = self.running[position]
            if self._grow(sequence):
                run(sequence)
                position += 1
        while self.waiting:
            sequence = self.waiting[0]
            if not self._count(sequence, tokens, rows) or not self._admit(sequence):
                break
            run(sequence)
        return chunks

    def advance(self, chunks: list[Chunk]) -> None:
        """Note that the model has computed the chunks."""
        for chunk in chunks:
            sequence = chunk.sequence
            assert sequence.table is not None
            sequence.computed = chunk.start + chunk.count
            self.pool.publish(sequence.table, sequence.tokens, sequence.computed)

    def guess_room(self, chunks: list[Chunk]) -> int:
        """How many guesses a step of these chunks has room for."""
        rows = sum(chunk.logits_rows for chunk in chunks)
        tokens = sum(chunk.count for chunk in chunks)
        return max(0, min(self._all_rows - rows, self._step_tokens - tokens))

    def with_guess(self, chunk: Chunk, guess: list[int]) -> Chunk:
        """The chunk, of a text's last token, with the part of the guess that finds free blocks.

        No sequence gives blocks back for it.
        """
        table = chunk.sequence.table
        assert table is not None
        end = chunk.start + chunk.count
        while guess and not self.pool.extend(table, end + len(guess)):
            guess = guess[:-1]
        return replace(chunk, guess=tuple(guess))

    def accept(self, sequence: Sequence) -> None:
        """Note that the sequence's last token was guessed, and so is in the cache."""
        assert sequence.table is not None
        sequence.computed = len(sequence.tokens)
        self.pool.publish(sequence.table, sequence.tokens, sequence.computed)

    def end_guess(self, sequence: Sequence) -> None:
        """Take back the blocks that wrong guesses were given."""
        if sequence.table is not None:
            self.pool.trim(sequence.table, len(sequence.tokens))

    def restart(self) -> None:
        """Send everything back to the queue and forget the cache: its content is in doubt."""
        while self.running:
            self._send_back()
        self.pool.forget()

    def check(self) -> None:
        """Raise AssertionError unless queues, tables and pool agree."""
        assert len(self.running) <= self._max_batch
        assert not set(self.running) & set(self.waiting)
        for sequence in self.running:
            assert sequence.table is not None
            assert sequence.computed <= len(sequence.table.blocks) * self.pool.block_size
        for sequence in self.waiting:
            assert sequence.table is None
            assert sequence.computed == 0
        self.pool.check(sequence.table for sequence in self.running if sequence.table is not None)

    def _count(self, sequence: Sequence, tokens: int, rows: int) -> int:
        """How many of the sequence's tokens the rest of a step can take."""
        count = min(len(sequence.tokens) - sequence.computed, self._prefill_chunk, tokens)
        if sequence.wants_all_rows:
            known = sequence.delivered - sequence.computed
            if known > 0:
                count = min(count, known)
            elif not sequence.rows_are_states:
                count = min(count, rows)
        return count

    def _grow(self, sequence: Sequence) -> bool:
        """Make room for all its tokens, at newer ones' expense; False if it had to go itself."""
        assert sequence.table is not None
        while not self.pool.extend(sequence.table, len(sequence.tokens)):
            self.preemptions += 1
            if self._send_back() is sequence:
                return False
        return True

    def _admit(self, sequence: Sequence) -> bool:
        """Move the head of the queue to the running ones if there is room for it."""
        if len(self.running) == self._max_batch:
            return False
        shareable = self._prefix_cache and not sequence.wants_all_rows
        sequence.table = self.pool.open(sequence.tokens, shareable=shareable)
        if sequence.table is None:
            return False
        sequence.computed = sequence.table.reused_tokens
        if not sequence.was_admitted:
            sequence.reused_tokens = sequence.computed
            sequence.was_admitted = True
        self.running.append(self.waiting.popleft())
        return True

    def _send_back(self) -> Sequence:
        """Return the newest running sequence, which is now the head of the queue."""
        sequence = self.running.pop()
        self._close(sequence)
        self.waiting.appendleft(sequence)
        return sequence

    def _close(self, sequence: Sequence) -> None:
        if sequence.table is not None:
            self.pool.close(sequence.table)
        sequence.table = None
        sequence.computed = 0


def _chunk(sequence: Sequence, count: int) -> Chunk:
    start, end = sequence.computed, sequence.computed + count
    if sequence.wants_all_rows:
        return Chunk(sequence, start, count, "all" if end > sequence.delivered else "none")
    return Chunk(sequence, start, count, "last" if end == len(sequence.tokens) else "none")
