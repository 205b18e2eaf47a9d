"""The training text, by its seed, and how much of other texts stands in it."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .writer import stories

TRAINING_SEED = 2024
HELD_OUT_SEED = 4202
TRAINING_STORIES = 48_000
PLAIN_SEED = 2025
PLAIN_STORIES = 18_000
RUN_TOKENS = 20

_MULTIPLIER = 0x9E3779B97F4A7C15


def training_texts(count: int = TRAINING_STORIES) -> Iterator[str]:
    """The stories that the embedded model was trained on first, in order."""
    return (story.text for story in itertools.islice(stories(TRAINING_SEED), count))


def plain_texts(count: int = PLAIN_STORIES) -> Iterator[str]:
    """The plain stories that it was trained on after these, in order."""
    return (story.text for story in itertools.islice(stories(PLAIN_SEED, plain=True), count))


def held_out_texts(count: int) -> Iterator[str]:
    """Stories that the model was not trained on."""
    return (story.text for story in itertools.islice(stories(HELD_OUT_SEED), count))


def run_hashes(ids: Sequence[int]) -> np.ndarray:
    """64-bit hashes of all runs of ``RUN_TOKENS`` ids in one text: uint64 [max(0, n - 19)]."""
    values = np.asarray(ids, dtype=np.uint64) + np.uint64(1)
    count = max(0, len(values) - RUN_TOKENS + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for offset in range(RUN_TOKENS):
        hashes = (hashes ^ values[offset : offset + count]) * np.uint64(_MULTIPLIER)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def overlap(texts: Iterable[Sequence[int]], training: Iterable[Sequence[int]]) -> float:
    """Share of the runs in ``texts`` (token ids each) that occur in the training texts, too."""
    known = np.unique(np.concatenate([run_hashes(ids) for ids in training]))
    runs = np.concatenate([run_hashes(ids) for ids in texts])
    if len(runs) == 0:
        return 0.0
    return float(np.isin(runs, known).mean())
