"""A model in NumPy whose logits depend on every token before, read through the block table.

Its "attention" sums a hash of every cached (token, position); its logits are a hash of that sum, so
one wrong, missing or stale slot changes the text completely. `expected_*` compute the same without
any cache.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cl_llama.models.batch import Batch
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import RopeConfig

UNWRITTEN = np.uint64(0xDEAD)


def config(vocab_size: int = 40, eos_ids: tuple[int, ...] = ()) -> ModelConfig:
    return ModelConfig(
        architecture="llama",
        vocab_size=vocab_size,
        d_model=8,
        n_layers=1,
        n_heads=1,
        n_kv_heads=1,
        head_dim=8,
        d_ff=8,
        norm_eps=1e-5,
        max_seq_len=256,
        rope=RopeConfig(10000.0, "half"),
        tied_embeddings=False,
        qkv_bias=False,
        o_bias=False,
        mlp_bias=False,
        qk_norm=False,
        windows=(None,),
        bos_id=1,
        eos_ids=eos_ids,
    )


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the input changes every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def features(tokens: Sequence[int], start: int) -> NDArray[np.uint64]:
    positions = np.arange(start, start + len(tokens), dtype=np.uint64)
    return mixed(np.asarray(tokens, dtype=np.uint64) * np.uint64(1_000_003) + positions * 7919 + 1)


def logits_of(sums_N: NDArray[np.uint64], vocab_size: int) -> NDArray[np.float32]:
    ids_V = np.arange(vocab_size, dtype=np.uint64)
    bits_NV = mixed(sums_N[:, None] + mixed(ids_V + np.uint64(99))[None, :])
    return ((bits_NV >> np.uint64(44)).astype(np.float32) / 2**17 - 4).astype(np.float32)


def expected_logits(tokens: Sequence[int], vocab_size: int = 40) -> NDArray[np.float32]:
    return logits_of(np.cumsum(features(tokens, 0)), vocab_size)


def expected_greedy(prompt: Sequence[int], count: int, vocab_size: int = 40) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(expected_logits(tokens, vocab_size)[-1].argmax()))
    return tokens[len(prompt) :]


def states_of(sums_N: NDArray[np.uint64], width: int) -> NDArray[np.float32]:
    return logits_of(sums_N + np.uint64(5), width)


def expected_mean(tokens: Sequence[int], width: int = 8) -> NDArray[np.float32]:
    states_ND = states_of(np.cumsum(features(tokens, 0)), width)
    return states_ND.mean(axis=0, dtype=np.float64).astype(np.float32)


class NumpyLogits:
    def __init__(
        self,
        logits_RV: NDArray[np.float32],
        used: list[str],
        states_ED: NDArray[np.float32] | None = None,
    ) -> None:
        self._logits_RV = logits_RV
        self._used = used
        self._states_ED = states_ED

    def wait(self) -> None:
        self._used.append("wait")

    def states(self) -> NDArray[np.float32]:
        assert self._states_ED is not None
        return self._states_ED

    @property
    def rows(self) -> int:
        return len(self._logits_RV)

    def argmax(self) -> NDArray[np.int32]:
        self._used.append("argmax")
        return self._logits_RV.argmax(axis=1).astype(np.int32)

    def top_k(self, k: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        assert 1 <= k <= 64
        self._used.append("top_k")
        ids = np.argsort(-self._logits_RV, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(self._logits_RV, ids, axis=1), ids.astype(np.int32)

    def logsumexp(self) -> NDArray[np.float32]:
        self._used.append("logsumexp")
        return np.log(np.exp(self._logits_RV.astype(np.float64)).sum(axis=1)).astype(np.float32)

    def at(self, ids_R: NDArray[np.int32]) -> NDArray[np.float32]:
        self._used.append("at")
        return np.take_along_axis(self._logits_RV, ids_R[:, None], axis=1)[:, 0]

    def numpy(self) -> NDArray[np.float32]:
        self._used.append("numpy")
        return self._logits_RV


class PagedModel:
    """Implements `models.batch.Model`; `before_forward` may wait, watch or raise."""

    def __init__(
        self,
        num_blocks: int = 64,
        block_size: int = 4,
        vocab_size: int = 40,
        eos_ids: tuple[int, ...] = (),
        before_forward: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self.config = config(vocab_size, eos_ids)
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.before_forward = before_forward
        self.batches: list[Batch] = []
        self.used: list[str] = []
        self._cache = np.full((num_blocks, block_size), UNWRITTEN)

    def forward(self, batch: Batch) -> NumpyLogits:
        self.batches.append(batch)
        self.before_forward(batch)
        written: set[int] = set()
        for part in batch.slices:
            end = part.start + len(part.token_ids)
            blocks = part.block_table[: -(-end // self.block_size)]
            own = set(blocks[part.start // self.block_size :].tolist())
            assert len(part.token_ids) >= 1
            assert end <= len(part.block_table) * self.block_size
            assert not own & written, "two slices write to one block"
            written |= own
            positions = np.arange(part.start, end)
            slots = blocks[positions // self.block_size], positions % self.block_size
            self._cache[slots] = features(part.token_ids.tolist(), part.start)
        rows, states = [], [np.empty(0, np.uint64)]
        for part in batch.slices:
            end = part.start + len(part.token_ids)
            positions = np.arange(end)
            blocks = part.block_table[positions // self.block_size]
            seen = self._cache[blocks, positions % self.block_size]
            assert not (seen == UNWRITTEN).any(), "read a slot that nobody wrote"
            sums = np.cumsum(seen)
            rows.append(sums[end - part.logits_rows :])
            if part.states:
                states.append(sums[part.start :])
        return NumpyLogits(
            logits_of(np.concatenate(rows), self.config.vocab_size),
            self.used,
            states_of(np.concatenate(states), self.config.d_model),
        )
