"""What the engine keeps of a request while it is alive."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.request import Request
from cl_llama.engine.sampling import Sampler
from cl_llama.engine.scheduler import Chunk
from cl_llama.engine.scheduler import Sequence as CacheSequence
from cl_llama.errors import RequestError


class Job:
    """A request, its tokens in the cache, and what is wanted of them."""

    def __init__(
        self,
        request: Request,
        sampler: Sampler,
        limit: int,
        stop_when: Callable[[int], bool] | None,
        rows: int | None,
        targets: Sequence[int] | None,
        embed: bool = False,
    ) -> None:
        self.request = request
        self.sampler = sampler
        self.limit = limit
        """Tokens to generate at most."""
        self.stop_when = stop_when
        self.cached_tokens = 0
        """Prompt tokens found in the cache that the engine's totals hold."""
        prompt = list(request.prompt_ids)
        first_row = 0 if rows is None else len(prompt) - rows
        self.sequence = CacheSequence(
            prompt,
            wants_all_rows=rows is not None,
            rows_are_states=embed,
            delivered=first_row,
        )
        self._targets = targets
        self._states_D: NDArray[np.float64] | None = None

    @property
    def is_scored(self) -> bool:
        """Whether log-probabilities are wanted in place of rows of logits."""
        return self._targets is not None

    @property
    def wants_rows(self) -> bool:
        """Whether whole rows of logits are wanted after its tokens."""
        sequence = self.sequence
        return sequence.wants_all_rows and not sequence.rows_are_states and not self.is_scored

    def add_states(self, states_nD: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in the states of the next tokens; float32 [D], the mean of all of them so far.

        The sum is float64, so that it hardly depends on how the tokens were cut into chunks.
        """
        sum_D: NDArray[np.float64] = states_nD.sum(axis=0, dtype=np.float64)
        self._states_D = sum_D if self._states_D is None else self._states_D + sum_D
        mean_D: NDArray[np.float64] = self._states_D / (self.sequence.delivered + len(states_nD))
        return mean_D.astype(np.float32)

    def targets(self, chunk: Chunk) -> NDArray[np.int32]:
        """The tokens that are scored after those of a chunk; int32 [count]."""
        assert self._targets is not None
        start = chunk.start - len(self.sequence.tokens) + len(self._targets)
        return np.array(self._targets[start : start + chunk.count], np.int32)


def wanted_rows(
    length: int,
    prompt_logits: bool,
    last_rows: int | None,
    targets: Sequence[int] | None,
    embed: bool = False,
) -> int | None:
    """After how many of a prompt's last tokens rows are wanted; None: the prompt is continued.

    The arguments are those of `Engine.submit`; raises RequestError if the prompt is too short.
    """
    if targets is None and not prompt_logits:
        return length if embed else None
    rows = length if last_rows is None else last_rows
    if targets is not None:
        rows = len(targets)
    if not 0 <= rows <= length:
        raise RequestError(f"submit: {rows} rows are asked of a prompt of {length} tokens")
    return rows
