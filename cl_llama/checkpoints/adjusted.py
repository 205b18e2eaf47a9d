"""Vectors whose values a model takes otherwise than the file states them."""

from dataclasses import dataclass

import numpy as np

from cl_llama.checkpoints.tensor import HostTensor, Rows


@dataclass(frozen=True)
class AdjustedVector(HostTensor):
    """(values + `shift`) * `scale` of a vector, in float32."""

    source: HostTensor
    scale: float
    shift: float

    def _read_rows(self, start: int, stop: int) -> Rows:
        values = self.source.read_rows(start, stop).astype(np.float32)
        return (values + np.float32(self.shift)) * np.float32(self.scale)

    def release(self) -> None:
        """Drop the source's mapped pages from resident memory."""
        self.source.release()


def adjusted(source: HostTensor, *, scale: float = 1.0, shift: float = 0.0) -> HostTensor:
    """A vector's values plus `shift`, times `scale`; the vector itself where neither counts."""
    if scale == 1.0 and shift == 0.0:
        return source
    return AdjustedVector(source.name, source.shape, "f32", source, scale, shift)
