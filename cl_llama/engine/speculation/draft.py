"""Guesses of a smaller model of the same vocabulary, which runs ahead of the text.

Speculative decoding with a draft model (Leviathan et al., arXiv 2211.17192), whose guesses are its
likeliest tokens, one after the other. Its cache follows the texts: a step first runs what it has
not seen of them, then token after token of the guesses, for all sequences at once.
"""

from collections.abc import Sequence

import numpy as np

from cl_llama.engine.kv_cache import BlockPool, BlockTable
from cl_llama.engine.scheduler import Sequence as CacheSequence
from cl_llama.models.batch import STEP_TOKENS, Batch, Model, SequenceSlice


class DraftModel:
    """Satisfies `Proposer`. The model has a cache of its own and shares the engine's thread.

    Where its cache has no room for a text, or has still to read most of it, it guesses nothing.
    """

    first_rate = 0.7

    def __init__(
        self,
        model: Model,
        cost: float,
        vocab_size: int,
        max_seq_len: int,
        step_tokens: int = STEP_TOKENS,
    ) -> None:
        """Guess for a model of `vocab_size` tokens, of which this one may know the first only.

        cost: of its step with one token, in such steps of the other model. max_seq_len: positions
        of a text that it knows. step_tokens: that it runs at once, at most.
        """
        self.cost = cost
        self._model = model
        self._known_ids = min(vocab_size, model.config.vocab_size)
        self._max_seq_len = max_seq_len
        self._step_tokens = step_tokens
        self._pool = BlockPool(model.num_blocks, model.block_size)
        self._texts: dict[CacheSequence, _Text] = {}

    def propose(
        self, sequences: Sequence[CacheSequence], lengths: Sequence[int]
    ) -> list[list[int]]:
        """The likeliest tokens after each sequence's own; at most `lengths`, none where it lags."""
        guesses: list[list[int]] = [[] for _ in sequences]
        ready = self._catch_up(sequences, lengths)
        for i, token_id in ready.items():
            guesses[i].append(token_id)
        while True:
            going = [
                i
                for i in ready
                if len(guesses[i]) < lengths[i]
                and guesses[i][-1] < self._known_ids
                and self._grow(sequences[i], guesses[i])
            ]
            if not going:
                break
            slices = [self._slice(sequences[i], guesses[i][-1:]) for i in going]
            ids = self._model.forward(Batch(tuple(slices))).argmax()
            for i, token_id in zip(going, ids, strict=True):
                self._texts[sequences[i]].ids.append(guesses[i][-1])
                guesses[i].append(int(token_id))
        return [[t for t in guess if t < self._known_ids] for guess in guesses]

    def forget(self, sequence: CacheSequence) -> None:
        """Give its blocks back."""
        text = self._texts.pop(sequence, None)
        if text is not None:
            self._pool.close(text.table)

    def restart(self) -> None:
        """Forget the cache."""
        for sequence in list(self._texts):
            self.forget(sequence)
        self._pool.forget()

    def check(self) -> None:
        """Raise AssertionError unless tables and pool agree."""
        self._pool.check(text.table for text in self._texts.values())

    def _catch_up(
        self, sequences: Sequence[CacheSequence], lengths: Sequence[int]
    ) -> dict[int, int]:
        """Run what is new of texts that want guesses; the first guess of those it has all of."""
        room = self._step_tokens
        slices: list[SequenceSlice] = []
        read: list[tuple[int, int]] = []
        for i, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
            text = self._follow(sequence) if length else None
            if text is None or not room:
                continue
            tokens = sequence.tokens[len(text.ids) : len(text.ids) + room]
            if max(tokens) >= self._known_ids:
                continue
            end = len(text.ids) + len(tokens)
            is_whole = end == len(sequence.tokens)
            slices.append(self._slice(sequence, tokens, wants_next=is_whole))
            read.append((i, len(tokens)))
            room -= len(tokens)
        if not slices:
            return {}
        logits = self._model.forward(Batch(tuple(slices)))
        firsts = iter(logits.argmax().tolist() if logits.rows else ())
        ready = {}
        for (i, count), part in zip(read, slices, strict=True):
            text, tokens = self._texts[sequences[i]], sequences[i].tokens
            text.ids += tokens[len(text.ids) : len(text.ids) + count]
            text.sure = len(text.ids)
            self._pool.publish(text.table, tokens, text.sure)
            if part.logits == "last":
                ready[i] = next(firsts)
        return ready

    def _follow(self, sequence: CacheSequence) -> "_Text | None":
        """What the cache has of a text, without guesses that were wrong; None: there is no room."""
        tokens = sequence.tokens
        if len(tokens) > self._max_seq_len:
            return None
        text = self._texts.get(sequence)
        if text is None:
            table = self._pool.open(tokens)
            if table is None and self._close_idle():
                table = self._pool.open(tokens)
            if table is None:
                return None
            known = tokens[: table.reused_tokens]
            text = self._texts[sequence] = _Text(table, known, len(known))
        else:
            self._pool.trim(text.table, len(tokens))  # of guesses that were wrong
            if not self._pool.extend(text.table, len(tokens)):
                return None
        text.keep_right(tokens)
        return text

    def _grow(self, sequence: CacheSequence, guess: list[int]) -> bool:
        """Whether there is room to run the last of the guesses."""
        length = len(sequence.tokens) + len(guess)
        if length > self._max_seq_len:
            return False
        return self._pool.extend(self._texts[sequence].table, length)

    def _close_idle(self) -> bool:
        """Give back the blocks of sequences that wait; whether there were any."""
        waiting = [sequence for sequence in self._texts if sequence.table is None]
        for sequence in waiting:
            self.forget(sequence)
        return bool(waiting)

    def _slice(
        self, sequence: CacheSequence, tokens: list[int], *, wants_next: bool = True
    ) -> SequenceSlice:
        text = self._texts[sequence]
        return SequenceSlice(
            token_ids=np.array(tokens, np.int32),
            start=len(text.ids),
            block_table=np.array(text.table.blocks, np.int32),
            logits="last" if wants_next else "none",
        )


class _Text:
    """What the cache holds of a sequence."""

    def __init__(self, table: BlockTable, ids: list[int], sure: int) -> None:
        self.table = table
        self.ids = ids
        """The tokens in it: the text's first ones, then guesses."""
        self.sure = sure
        """How many of them are not guesses."""

    def keep_right(self, tokens: list[int]) -> None:
        """Drop wrong guesses, and the text's last token: what follows it is asked for."""
        right = min(self.sure, len(tokens) - 1)
        while right < min(len(self.ids), len(tokens) - 1) and self.ids[right] == tokens[right]:
            right += 1
        del self.ids[right:]
        self.sure = right
