"""Times prompts and decode steps.

Decode steps are those of an engine, which schedules, chooses and hands over every token. What is
spared is the computation of the context: the cache holds random keys and values there, which cost
what real ones do.
"""

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cl_llama.engine.engine import Engine
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import DeviceMemoryError
from cl_llama.models.batch import STEP_TOKENS, Batch, Logits, Model, SequenceSlice
from cl_llama.models.model_config import ModelConfig

EXTRA_TOKENS = 4
"""Positions that a sequence takes beyond its context and the tokens that are timed."""


def decode_seconds(
    model: Model,
    batch: int,
    depth: int,
    steps: int,
    between: Callable[[], None] = lambda: None,
) -> list[float]:
    """Seconds of each of `steps` greedy steps of `batch` sequences with `depth` tokens of context.

    A step is timed from the model's call to its next: the token's way through the engine is in it.
    `between` is called before each and is not timed.

    Raises:
        DeviceMemoryError: the cache does not hold that many tokens.
        DeviceError: the device failed.
    """
    timed = _TimedModel(model, batch, depth, steps, between)
    prompt_tokens = max(depth, 1)
    engine = Engine(
        timed,
        model.num_blocks * model.block_size,
        prefill_chunk=prompt_tokens,
        step_tokens=batch * prompt_tokens,
        max_batch=batch,
    )
    params = SamplingParams(max_new_tokens=steps + EXTRA_TOKENS, temperature=0.0, stop_token_ids=())
    rng = np.random.default_rng(depth)
    try:
        requests = [
            engine.submit(rng.integers(0, model.config.vocab_size, prompt_tokens).tolist(), params)
            for _ in range(batch)
        ]
        timed.begin.set()
        for request in requests:
            request.result()
    finally:
        timed.begin.set()
        engine.close()
    if len(timed.seconds) < steps:
        raise DeviceMemoryError(
            f"bench: the cache's {model.num_blocks} blocks of {model.block_size} positions do not "
            f"hold {batch} sequences of {prompt_tokens + steps + EXTRA_TOKENS} tokens"
        )
    return timed.seconds


def prefill_seconds(model: Model, tokens: int, depth: int) -> float:
    """Seconds of a prompt's pass after `depth` tokens of context, its first token's choice too.

    Raises:
        DeviceError: the device failed.
    """
    ids = np.arange(tokens, dtype=np.int32) * 7 % model.config.vocab_size
    table = np.arange(model.num_blocks, dtype=np.int32)
    began = time.perf_counter()
    for start in range(0, tokens, STEP_TOKENS):
        piece = ids[start : start + STEP_TOKENS]
        last = start + len(piece) == tokens
        logits = model.forward(
            Batch((SequenceSlice(piece, depth + start, table, "last" if last else "none"),))
        )
        if last:
            logits.argmax()
    return time.perf_counter() - began


class _TimedModel:
    """Gives the steps in which all sequences decode to the model, and answers others itself."""

    def __init__(
        self, model: Model, batch: int, depth: int, steps: int, between: Callable[[], None]
    ) -> None:
        self.begin = threading.Event()
        """Set when all requests are there."""
        self.seconds: list[float] = []
        self._model = model
        self._batch = batch
        self._depth = depth
        self._steps = steps
        self._between = between
        self._began: float | None = None

    @property
    def config(self) -> ModelConfig:
        return self._model.config

    @property
    def block_size(self) -> int:
        return self._model.block_size

    @property
    def num_blocks(self) -> int:
        return self._model.num_blocks

    def forward(self, batch: Batch) -> Logits:
        now = time.perf_counter()
        if self._began is not None:
            self.seconds.append(now - self._began)
            self._began = None
        self.begin.wait()
        decodes = len(batch.slices) == self._batch and all(
            len(s.token_ids) == 1 and s.start >= self._depth for s in batch.slices
        )
        if not decodes or len(self.seconds) == self._steps:
            return _ZeroLogits(batch.logits_rows, self.config.vocab_size)
        self._between()
        self._began = time.perf_counter()
        return self._model.forward(batch)


class _ZeroLogits:
    """Logits [R, V] of a step that was not computed: all zero, so that token 0 is chosen."""

    def __init__(self, rows: int, vocab_size: int) -> None:
        self.rows = rows
        self._vocab_size = vocab_size

    def argmax(self) -> NDArray[np.int32]:
        return np.zeros(self.rows, np.int32)

    def top_k(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        ids_Rk = np.tile(np.arange(k, dtype=np.int32), (self.rows, 1))
        return np.zeros((self.rows, k), np.float32), ids_Rk

    def logsumexp(self) -> NDArray[np.float32]:
        return np.full(self.rows, np.log(self._vocab_size), np.float32)

    def at(self, ids_R: NDArray[np.int32]) -> NDArray[np.float32]:
        return np.zeros(self.rows, np.float32)

    def numpy(self) -> NDArray[np.float32]:
        return np.zeros((self.rows, self._vocab_size), np.float32)

    def wait(self) -> None:
        pass

    def states(self) -> NDArray[np.float32]:
        return np.zeros((0, 0), np.float32)
