"""Which tokens of which sequences the next step runs.

Sequences are admitted first come first served, while there are blocks for all their tokens. Every
step takes all running sequences that generate, each with its latest token. The rest of the step
goes to prompts, in chunks: the oldest one gets at least half of it, and what is left goes to the
shortest ones first. So a short prompt does not wait for a long one's end, equal prompts are
computed one after the other, and each becomes the oldest one at last. How much of a step prompts
get is limited where others wait for it: see `Budget`.

A sequence that comes to a block which an older one is computing from the same tokens leaves it to
that one, and takes the block over when it is published. Nothing is remembered of this: should the
older one go, the next step finds that nobody computes the block. The oldest prompt waits for none,
so that something is always computed.

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

_TILE = 16
"""Kernels compute this many tokens at a time, or a multiple: others cost as much as the next."""


@dataclass(frozen=True)
class Budget:
    """Tokens of prompts that a step may take where somebody waits for its end."""

    beside_texts: int
    """While others generate."""
    together: int
    """While there are several prompts, and nobody generates."""


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
    """Prompt positions that others had computed before it came to them."""
    reached: int = 0
    """Positions that have ever been in the cache."""

    @property
    def generates(self) -> bool:
        """Whether only its latest token is left to compute, and the next one is wanted."""
        return not self.wants_all_rows and len(self.tokens) - self.computed == 1

    @property
    def takes_logits_rows(self) -> bool:
        """Whether its next chunk takes a row of logits, V numbers, after every token."""
        return self.wants_all_rows and not self.rows_are_states and self.delivered <= self.computed

    def note_reused(self, before: int) -> None:
        """Count the positions from `before` on that were found in the cache, if they are new."""
        self.reused_tokens += max(0, self.computed - max(self.reached, before))
        self.reached = max(self.reached, self.computed)


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
    def generates(self) -> bool:
        """Whether it is a text's latest token, and no part of a prompt."""
        return self.count == 1 and self.logits == "last"

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

    def schedule(self, budget: Budget | None = None) -> list[Chunk]:
        """The next step's chunks; empty only if no sequence is left. None: prompts fill it."""
        position = 0
        while position < len(self.running):
            if self._grow(self.running[position]):
                position += 1
        while self.waiting and self._admit(self.waiting[0]):
            pass
        counts: dict[Sequence, int] = {}
        prompts: list[Sequence] = []
        for i, sequence in enumerate(self.running):
            self._adopt(sequence)
            if sequence.generates:
                counts[sequence] = 1
            elif not self._is_computed_by(self.running[:i], sequence):
                prompts.append(sequence)
        tokens = self._step_tokens - len(counts)
        if budget is not None and counts:
            tokens = min(tokens, _whole_tiles(len(counts), budget.beside_texts))
        elif budget is not None and len(prompts) > 1:
            tokens = min(tokens, _whole_tiles(0, budget.together))
        counts |= self._share(prompts, tokens)
        return [_chunk(s, counts[s]) for s in self.running if s in counts]

    def advance(self, chunks: list[Chunk]) -> None:
        """Note that the model has computed the chunks."""
        for chunk in chunks:
            sequence = chunk.sequence
            assert sequence.table is not None
            sequence.computed = chunk.start + chunk.count
            sequence.reached = max(sequence.reached, sequence.computed)
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
        sequence.computed = sequence.reached = len(sequence.tokens)
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

    def _share(self, prompts: list[Sequence], tokens: int) -> dict[Sequence, int]:
        """How many tokens of each prompt, oldest first, a step runs that has room for so many."""
        counts: dict[Sequence, int] = {}
        if not prompts:
            return counts
        rows, oldest = self._all_rows, prompts[0]
        kept = min(self._most(oldest, -(-rows // 2)), -(-tokens // 2))
        for sequence in sorted(prompts, key=lambda s: len(s.tokens) - s.computed):
            if sequence is oldest:
                kept = 0
            kept_rows = kept if oldest.takes_logits_rows else 0
            count = min(self._most(sequence, rows - kept_rows), tokens - kept)
            if count > 0:
                counts[sequence] = count
                tokens -= count
                rows -= count if sequence.takes_logits_rows else 0
        return counts

    def _most(self, sequence: Sequence, rows: int) -> int:
        """How many of the sequence's tokens a step can run that has so many rows of logits left."""
        count = min(len(sequence.tokens) - sequence.computed, self._prefill_chunk)
        if sequence.wants_all_rows and sequence.delivered > sequence.computed:
            return min(count, sequence.delivered - sequence.computed)
        return min(count, rows) if sequence.takes_logits_rows else count

    def _adopt(self, sequence: Sequence) -> None:
        """Take over what others have computed of its next tokens."""
        assert sequence.table is not None
        before = sequence.computed
        sequence.computed = self.pool.adopt(sequence.table, sequence.tokens, before)
        sequence.note_reused(before)

    def _is_computed_by(self, older: list[Sequence], sequence: Sequence) -> bool:
        """Whether one of the older sequences is computing the block that this one needs next."""
        table, start = sequence.table, sequence.computed
        assert table is not None
        end = start + self.pool.block_size
        if (
            not table.shareable
            or start != table.published * self.pool.block_size
            or end >= len(sequence.tokens)
        ):
            return False
        return any(
            other.table is not None
            and other.table.shareable
            and start <= other.computed < end <= len(other.tokens)
            and other.tokens[:end] == sequence.tokens[:end]
            for other in older
        )

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
        sequence.note_reused(0)
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


def _whole_tiles(generating: int, prompt_tokens: int) -> int:
    """Prompt tokens with which those of a step that also generates fill tiles; some at least."""
    tokens = (generating + prompt_tokens) // _TILE * _TILE - generating
    return tokens if tokens >= _TILE // 2 else tokens + _TILE * (1 + (_TILE // 2 - tokens) // _TILE)


def _chunk(sequence: Sequence, count: int) -> Chunk:
    start, end = sequence.computed, sequence.computed + count
    if sequence.wants_all_rows:
        return Chunk(sequence, start, count, "all" if end > sequence.delivered else "none")
    return Chunk(sequence, start, count, "last" if end == len(sequence.tokens) else "none")
