"""Matrices of random blocks, as checkpoints give them."""

from dataclasses import dataclass

import numpy as np

from cl_llama.blocks import FORMATS, dequantize
from tests.ops.block_matrices import random_blocks


@dataclass
class BlockMatrix:
    """A matrix [N, D] in blocks of a format; satisfies `ops.weight.BlockSource`."""

    format: str
    blocks: np.ndarray
    name: str = "random"

    @property
    def shape(self) -> tuple[int, int]:
        form = FORMATS[self.format]
        return len(self.blocks), self.blocks.shape[1] // form.nbytes * form.elements

    @property
    def values(self) -> np.ndarray:
        return dequantize(self.format, self.blocks)

    def read_rows(self, start: int, stop: int) -> np.ndarray:
        raise AssertionError("values are asked for where blocks are at hand")

    def read_blocks(self, start: int, stop: int) -> np.ndarray:
        return self.blocks[start:stop]

    def release(self) -> None:
        pass


def random_matrix(format: str, rows: int, columns: int) -> BlockMatrix:
    rng = np.random.default_rng(rows * 31 + columns)
    return BlockMatrix(format, random_blocks(format, rng, rows, columns))
