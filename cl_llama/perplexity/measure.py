"""Measures a model on windows: alone, into a file for later, or against a file of another's."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.engine import Engine
from cl_llama.perplexity.divergence import Divergence
from cl_llama.perplexity.logits_file import LogitsReader, LogitsWriter
from cl_llama.perplexity.scoring import score, window_logits
from cl_llama.perplexity.statistics import Perplexity, log_softmax
from cl_llama.perplexity.windows import Windows

_ROWS = 16
"""Looked at together: arithmetic in float64 takes several times the memory of their logits."""


def measure(
    engine: Engine,
    windows: Windows,
    on_window: Callable[[Perplexity], None],
    writer: LogitsWriter | None = None,
) -> Perplexity:
    """The perplexity; on_window: called after every window. writer: gets all that is predicted."""
    perplexity = Perplexity()
    if writer is None:
        for logprobs in score(engine, windows):
            perplexity.add(logprobs)
            on_window(perplexity)
        return perplexity
    for parts in _parts(engine, windows):
        for logits_NV, targets_N in parts:
            logprobs_NV = log_softmax(logits_NV)
            perplexity.add(np.take_along_axis(logprobs_NV, targets_N[:, None], axis=1)[:, 0])
            writer.write(logprobs_NV)
        on_window(perplexity)
    return perplexity


def compare(
    engine: Engine,
    windows: Windows,
    reader: LogitsReader,
    on_window: Callable[[Divergence], None],
) -> Divergence:
    """How far the model is from the one whose log-probabilities of these windows the file has."""
    divergence = Divergence()
    for parts in _parts(engine, windows):
        for logits_NV, targets_N in parts:
            divergence.add(logits_NV, reader.read(len(logits_NV)), targets_N)
        on_window(divergence)
    return divergence


def _parts(
    engine: Engine, windows: Windows
) -> Iterator[Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]]:
    """For each window a few rows of logits [n, V] and their targets [n] at a time."""

    def parts(
        targets: NDArray[np.int32], rows: Iterator[NDArray[np.float32]]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int32]]]:
        done = 0
        for chunk in rows:
            for start in range(0, len(chunk), _ROWS):
                logits_NV = chunk[start : start + _ROWS]
                yield logits_NV, targets[done : done + len(logits_NV)]
                done += len(logits_NV)

    for targets, rows in zip(windows.targets, window_logits(engine, windows), strict=True):
        yield parts(targets, rows)
