"""Adds guesses to a step's chunks, as many as have been worth their cost."""

from collections.abc import Sequence

from cl_llama.engine.scheduler import Chunk, Scheduler
from cl_llama.engine.scheduler import Sequence as CacheSequence
from cl_llama.engine.speculation.costs import StepCosts, allot
from cl_llama.engine.speculation.proposer import Proposer

_KEPT = 0.9
"""Of what is known about a text's guesses, how much counts a step later: texts change."""
_KEPT_UNTRIED = 0.99
"""The same while there are none: the next try is not soon, but comes."""
_FIRST_WEIGHT = 2.0
"""Guesses that a proposer's first rate counts as."""


class Speculator:
    """A proposer, and how well it does for each sequence. Used by the engine's thread only."""

    def __init__(self, proposer: Proposer, costs: StepCosts, most: int) -> None:
        """most: guesses of one sequence in a step, at most."""
        self._proposer = proposer
        self._costs = costs
        self._most = most
        self._records: dict[CacheSequence, _Record] = {}

    def extend(self, scheduler: Scheduler, chunks: list[Chunk], left: Sequence[int]) -> list[Chunk]:
        """The chunks, those of one token that is to be continued with guesses where these pay.

        left: the tokens that each chunk's text may still get.

        Raises:
            DeviceError: a model that guesses failed.
        """
        room = scheduler.guess_room(chunks)
        guessed = [
            i for i, c in enumerate(chunks) if c.logits == "last" and c.count == 1 and left[i] > 1
        ]
        if not guessed or room < 1:
            return chunks
        sequences = [chunks[i].sequence for i in guessed]
        most = [min(self._most, left[i] - 1) for i in guessed]
        records = [self._record(sequence) for sequence in sequences]
        free = self._proposer.cost == 0.0
        if free:
            guesses = self._proposer.propose(sequences, most)
            most = [len(guess) for guess in guesses]
        lengths = allot(
            [record.rate for record in records],
            most,
            slices=len(chunks),
            tokens=sum(chunk.count for chunk in chunks),
            room=room,
            costs=self._costs,
            guess_cost=self._proposer.cost,
        )
        if not free:
            guesses = self._proposer.propose(sequences, lengths)
        extended = list(chunks)
        for i, record, guess, length in zip(guessed, records, guesses, lengths, strict=True):
            record.guess = guess
            if guess and length:
                extended[i] = scheduler.with_guess(chunks[i], guess[:length])
        return extended

    def learn(self, sequence: CacheSequence, chosen: Sequence[int]) -> None:
        """The sequence got these tokens after what it had when it was last extended."""
        record = self._records.get(sequence)
        if record is not None:
            record.learn(chosen)

    def forget(self, sequence: CacheSequence) -> None:
        """The sequence has ended."""
        self._records.pop(sequence, None)
        self._proposer.forget(sequence)

    def restart(self) -> None:
        """The device has failed: nothing that is held there can be trusted."""
        self._proposer.restart()

    def _record(self, sequence: CacheSequence) -> "_Record":
        return self._records.setdefault(sequence, _Record(self._proposer.first_rate))


class _Record:
    """How well a sequence is guessed."""

    def __init__(self, first_rate: float) -> None:
        self.guess: list[int] = []
        """The latest; a free one is learnt from even if the step did not run it."""
        self._first_rate = first_rate
        self._tried = self._right = 0.0

    @property
    def rate(self) -> float:
        """Share of guesses that is right, where those before them are."""
        first_right = _FIRST_WEIGHT * self._first_rate
        return (self._right + first_right) / (self._tried + _FIRST_WEIGHT)

    def learn(self, chosen: Sequence[int]) -> None:
        kept = _KEPT if self.guess else _KEPT_UNTRIED
        self._tried *= kept
        self._right *= kept
        for token_id, guess in zip(chosen, self.guess, strict=False):
            self._tried += 1
            if token_id != guess:
                break
            self._right += 1
        self.guess = []
