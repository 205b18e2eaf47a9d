"""Who guesses how texts go on."""

from collections.abc import Sequence
from typing import Protocol

from cl_llama.engine.scheduler import Sequence as CacheSequence


class Proposer(Protocol):
    """Guesses for the sequences of a step; runs in the engine's thread."""

    cost: float
    """Of guessing one token, in steps of the model with one token; 0: guesses are free."""
    first_rate: float
    """Share of guesses that is expected to be right before any was tried."""

    def propose(
        self, sequences: Sequence[CacheSequence], lengths: Sequence[int]
    ) -> list[list[int]]:
        """For each sequence the tokens that may follow its own: at most `lengths`, or none.

        Raises:
            DeviceError: a model that guesses failed.
        """

    def forget(self, sequence: CacheSequence) -> None:
        """The sequence has ended."""

    def restart(self) -> None:
        """The device has failed: nothing that is held there can be trusted."""
