"""Random weights of any shape, made by the device: they need no file and no room on the host."""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from cl_llama import ops
from cl_llama.checkpoints.tensor import HostTensor, Rows
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import LayerTensors, LlamaTensors
from cl_llama.opencl.runtime import DeviceArray

AMPLITUDE = 0.02 * math.sqrt(3.0)
"""Of uniform values with a deviation of 0.02, as models are initialised: activations stay small."""


@dataclass(frozen=True)
class RandomMatrix(HostTensor):
    """An f16 matrix of `ops.random_values`, whose seed is its name's checksum."""

    def make_rows(self, start: int, rows_ND: DeviceArray) -> None:
        """Fill f16 [N, D] on the device with the rows from `start` on."""
        ops.fill_random(rows_ND, self._seed, AMPLITUDE, first=start * self.shape[1])

    def _read_rows(self, start: int, stop: int) -> Rows:
        columns = self.shape[1]
        values = ops.random_values(start * columns, stop * columns, self._seed, AMPLITUDE)
        return values.reshape(stop - start, columns)

    def release(self) -> None:
        """Nothing is held."""

    @property
    def _seed(self) -> int:
        return zlib.crc32(self.name.encode())


@dataclass(frozen=True)
class Ones(HostTensor):
    """An f32 vector of ones: a norm that changes nothing."""

    def _read_rows(self, start: int, stop: int) -> Rows:
        return np.ones(stop - start, np.float32)

    def release(self) -> None:
        """Nothing is held."""


def random_tensors(config: ModelConfig) -> LlamaTensors:
    """The tensors of a Llama without biases and without norms of queries and keys."""
    D, F, V = config.d_model, config.d_ff, config.vocab_size
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim

    def matrix(name: str, rows: int, columns: int) -> RandomMatrix:
        return RandomMatrix(name, (rows, columns), "f16")

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
