"""The interface between the engine and a model: a ragged batch in, logits out."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cl_llama.models.model_config import ModelConfig

STEP_TOKENS = 512
"""Tokens of a step, at most, that a model plans its memory for."""
LOGITS_ROWS = 160
"""Rows of logits of a step, at most, that a model plans its memory for."""


@dataclass(frozen=True, eq=False)
class SequenceSlice:
    """Consecutive tokens of one sequence, to be run in one step.

    Positions [0, start) are in the cache already; the step writes [start, start + n). Position p
    lives in slot p % block_size of the physical block `block_table[p // block_size]`.
    """

    token_ids: NDArray[np.int32]
    """[n], n >= 1."""
    start: int
    """Position of the first token."""
    block_table: NDArray[np.int32]
    """[>= ceil((start + n) / block_size)]: physical block numbers."""
    logits: Literal["none", "last", "all"] = "last"
    """Which tokens' logits the caller wants."""
    states: bool = False
    """Whether the caller wants every token's last hidden state, and then no logits."""

    @property
    def logits_rows(self) -> int:
        """Number of rows this slice adds to the logits."""
        return {"none": 0, "last": 1, "all": len(self.token_ids)}[self.logits]


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices of different sequences, run as one step."""

    slices: tuple[SequenceSlice, ...]

    @property
    def token_count(self) -> int:
        """T, the tokens of all slices together."""
        return sum(len(s.token_ids) for s in self.slices)

    @property
    def logits_rows(self) -> int:
        """R, the rows of logits that the step returns."""
        return sum(s.logits_rows for s in self.slices)

    @property
    def states_rows(self) -> int:
        """E, the hidden states that the step returns."""
        return sum(len(s.token_ids) for s in self.slices if s.states)


class Logits(Protocol):
    """Logits [R, V] on the device, and states [E, D], valid until the model's next forward.

    Rows come in slice order; within a slice, in token order.
    """

    @property
    def rows(self) -> int:
        """R."""

    def argmax(self) -> NDArray[np.int32]:
        """int32 [R]: the id of each row's largest logit; of equal ones the lowest id."""

    def top_k(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Each row's k largest logits, 1 <= k <= 64.

        Returns float32 [R, k], descending, and their ids int32 [R, k]; of equal ones the lower id
        comes first.
        """

    def logsumexp(self) -> NDArray[np.float32]:
        """float32 [R]: log of the sum of exp over each row."""

    def at(self, ids_R: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [R]: each row's logit of one id, which is in the vocabulary."""

    def numpy(self) -> NDArray[np.float32]:
        """float32 [R, V], copied to the host."""

    def wait(self) -> None:
        """Until the step has run."""

    def states(self) -> NDArray[np.float32]:
        """float32 [E, D]: the hidden states asked for, after the last norm, on the host."""


class Model(Protocol):
    """A decoder with a paged key/value cache of its own."""

    @property
    def config(self) -> ModelConfig:
        """The model's hyperparameters."""

    @property
    def block_size(self) -> int:
        """Positions per cache block."""

    @property
    def num_blocks(self) -> int:
        """Blocks in the cache's pool."""

    def forward(self, batch: Batch) -> Logits:
        """Run all slices' tokens, write their K and V into the cache, return the logits asked for.

        No block may be written by two slices of a batch; shared blocks may be read by several.
        """
