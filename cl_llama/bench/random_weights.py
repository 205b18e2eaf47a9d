"""Random weights of any shape, which need no file and little room on the host.

The device makes those in f16. Blocks are cut from a tape of some, quantised on the host: to draw
every one anew would take longer than to compute with them.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cl_llama import ops
from cl_llama.blocks import FORMATS, dequantize, quantize
from cl_llama.checkpoints.tensor import HostTensor, Rows
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.quantization import choose_formats
from cl_llama.models.weights import LayerTensors, LlamaTensors
from cl_llama.opencl.runtime import DeviceArray

AMPLITUDE = 0.02 * math.sqrt(3.0)
"""Of uniform values with a deviation of 0.02, as models are initialised: activations stay small."""
_TAPE_BLOCKS = 4099
"""A prime number; quantising takes a part of a second."""


@dataclass(frozen=True)
class RandomMatrix(HostTensor):
    """An f16 matrix of `ops.random_values`, whose seed is its name's checksum."""

    def make_rows(self, start: int, rows_ND: DeviceArray) -> None:
        """Fill f16 [N, D] on the device with the rows from `start` on."""
        ops.fill_random(rows_ND, _seed(self), AMPLITUDE, first=start * self.shape[1])

    def _read_rows(self, start: int, stop: int) -> Rows:
        columns = self.shape[1]
        values = ops.random_values(start * columns, stop * columns, _seed(self), AMPLITUDE)
        return values.reshape(stop - start, columns)

    def release(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class RandomBlocks(HostTensor):
    """A matrix in the blocks of a format: a tape again and again, from its name's checksum on.

    Its length is prime: a row comes again only so many rows later.
    """

    def read_blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows [start, stop), uint8 [stop - start, row bytes]."""
        self._check_rows(start, stop)
        tape = _tape(self.format)
        row_blocks = self.shape[1] // FORMATS[self.format].elements
        first = (_seed(self) + start * row_blocks) % len(tape)
        count = (stop - start) * row_blocks
        blocks = np.resize(np.roll(tape, -first, axis=0), (count, tape.shape[1]))
        return blocks.reshape(stop - start, -1)

    def _read_rows(self, start: int, stop: int) -> Rows:
        return dequantize(self.format, self.read_blocks(start, stop))

    def release(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Ones(HostTensor):
    """An f32 vector of ones: a norm that changes nothing."""

    def _read_rows(self, start: int, stop: int) -> Rows:
        return np.ones(stop - start, np.float32)

    def release(self) -> None:
        """Nothing is held."""


def random_tensors(config: ModelConfig, quantize: str | None = None) -> LlamaTensors:
    """The tensors of a Llama without biases and without norms of queries and keys.

    quantize: one of QUANTIZATIONS, which matrices are in the blocks of; None: all are f16.
    """
    plain = _tensors(config, {})
    return plain if quantize is None else _tensors(config, choose_formats(plain, quantize))


def _tensors(config: ModelConfig, formats: Mapping[str, str]) -> LlamaTensors:
    D, F, V = config.d_model, config.d_ff, config.vocab_size
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim

    def matrix(name: str, rows: int, columns: int) -> HostTensor:
        form = formats.get(name, "f16")
        kind = RandomBlocks if form in FORMATS else RandomMatrix
        return kind(name, (rows, columns), form)

    def layer(i: int) -> LayerTensors:
        return LayerTensors(
            attn_norm=Ones(f"{i}.attn_norm", (D,), "f32"),
            q=matrix(f"{i}.q", q, D),
            k=matrix(f"{i}.k", kv, D),
            v=matrix(f"{i}.v", kv, D),
            o=matrix(f"{i}.o", D, q),
            ffn_norm=Ones(f"{i}.ffn_norm", (D,), "f32"),
            gate=matrix(f"{i}.gate", F, D),
            up=matrix(f"{i}.up", F, D),
            down=matrix(f"{i}.down", D, F),
        )

    embedding = matrix("embedding", V, D)
    return LlamaTensors(
        embedding=embedding,
        layers=tuple(layer(i) for i in range(config.n_layers)),
        final_norm=Ones("final_norm", (D,), "f32"),
        output=embedding if config.tied_embeddings else matrix("output", V, D),
    )


def _seed(tensor: HostTensor) -> int:
    return zlib.crc32(tensor.name.encode())


@cache
def _tape(form: str) -> NDArray[np.uint8]:
    """Blocks [_TAPE_BLOCKS, bytes of one] of uniform values."""
    elements = FORMATS[form].elements
    values = ops.random_values(0, _TAPE_BLOCKS * elements, 0, AMPLITUDE)
    return quantize(form, values.reshape(_TAPE_BLOCKS, elements))
