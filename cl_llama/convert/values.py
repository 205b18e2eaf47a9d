"""A model's tensors as the target wants them: their rotary order, their format, piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.blocks import FORMATS, quantize
from cl_llama.checkpoints import HostTensor
from cl_llama.errors import CheckpointError
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import Pairing, RopeConfig

_PIECE_VALUES = 1 << 22

_ROTARY_PARTS = ("q", "k", "q_bias", "k_bias")
"""The parts whose rows are in rotary order."""


@dataclass(frozen=True)
class Conversion:
    """What becomes of one tensor."""

    source: HostTensor
    format: str
    """The target's: "f32", "f16", or a block format's name."""
    head_dim: int | None = None
    """Rows come in heads of this many, which change their rotary order; None: rows stay."""
    pairing: Pairing = "half"
    """The rotary order to change to."""

    @property
    def nbytes(self) -> int:
        """Bytes that all pieces have together."""
        *rows, columns = self.source.shape
        form = FORMATS.get(self.format)
        row_bytes = (
            form.row_bytes(columns) if form else columns * (4 if self.format == "f32" else 2)
        )
        return int(np.prod(rows, dtype=np.int64)) * row_bytes

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The rows in order, in the target's order and format.

        Raises CheckpointError for a value that the format cannot hold; names the tensor.
        """
        rows = self.source.shape[0]
        width = int(np.prod(self.source.shape[1:], dtype=np.int64))
        step = max(1, _PIECE_VALUES // width)
        if self.head_dim is not None:
            step = max(1, step // self.head_dim) * self.head_dim
        for start in range(0, rows, step):
            values = self.source.read_rows(start, min(start + step, rows))
            if self.head_dim is not None:
                values = _reordered(values, self.head_dim, self.pairing)
            yield self._stored(values)
        self.source.release()

    def _stored(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.format == "f32":
            return values.astype("<f4")
        if self.format != "f16":
            try:
                return quantize(self.format, values)
            except ValueError as error:
                raise CheckpointError(f"{self.source.name}: {error}") from None
        if values.dtype != np.float16:
            largest = float(np.abs(values).max(initial=0.0))
            if not largest < 65520.0:  # what rounds to infinity; NaN fails, too
                raise CheckpointError(f"{self.source.name}: holds {largest:g}, f16 ends at 65504")
        return values.astype("<f2", copy=False)


def rope_of(config: ModelConfig) -> RopeConfig:
    """The rotary embedding that every Llama has."""
    assert config.rope is not None
    return config.rope


def rotary_order(config: ModelConfig, part: str, wanted: Pairing) -> tuple[int | None, Pairing]:
    """`head_dim` and `pairing` of a part's conversion to the rotary order that is wanted."""
    moves = config.rope is not None and part in _ROTARY_PARTS and config.rope.pairing != wanted
    return (config.head_dim if moves else None), wanted


def _reordered(values: NDArray[Any], head_dim: int, pairing: Pairing) -> NDArray[Any]:
    """Rows of whole heads: pairs (i, i + K/2) become (2i, 2i + 1), or back for "half"."""
    halves = (2, head_dim // 2) if pairing == "adjacent" else (head_dim // 2, 2)
    return values.reshape(-1, *halves, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
