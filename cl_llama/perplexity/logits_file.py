"""A model's log-probabilities of a text in a file, 16 bits each, in llama.cpp's format.

    8 bytes   "_logits_"
    uint32    C, tokens of a window
    int32     V, the vocabulary
    int32     W, windows
    int32     [W, C] token ids
    uint16    [W, C - 1 - C // 2, N], N = V rounded up to even, + 4: for each predicted token
              float32 scale, float32 lowest, uint16 [V] levels, padding;
              log-probability = scale * level + lowest

llama.cpp's own files reach 16 below the likeliest token, those written here 32: its steps are
finer, but what it cuts off shows in a comparison. Either reads the other's.
"""

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from cl_llama.errors import RequestError
from cl_llama.perplexity.windows import Windows

_MAGIC = b"_logits_"
_HEADER = struct.Struct("<8sIii")
_LEVELS = 65535
_REACH = 32.0


def refuse_to_overwrite(path: Path) -> None:
    """Raise RequestError where there is a file already."""
    if path.exists():
        raise RequestError(
            f"--kl-base {path}: is there already; add --kl-divergence to compare with it, or "
            "remove it"
        )


class LogitsWriter:
    """Writes a file window by window; it is there under its name only when all are written."""

    def __init__(self, path: Path, windows: Windows, vocab_size: int) -> None:
        """windows: as `cut_windows` makes them without a stride.

        Raises RequestError where the file is there already or cannot be written.
        """
        refuse_to_overwrite(path)
        self._path = path
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.part")
        W, C = windows.ids_WC.shape
        try:
            self._file: BinaryIO = self._partial.open("xb")
            self._file.write(_HEADER.pack(_MAGIC, C, vocab_size, W))
            self._file.write(windows.ids_WC.astype("<i4").tobytes())
        except OSError as error:
            raise RequestError(f"{path}: cannot be written ({error.strerror})") from None
        self._left = W * windows.scored

    def write(self, logprobs_NV: NDArray[np.float64]) -> None:
        """Append rows of log-probabilities. Raises RequestError where the disk is full."""
        try:
            self._file.write(_encode(logprobs_NV).tobytes())
        except OSError as error:
            raise RequestError(f"{self._path}: cannot be written ({error.strerror})") from None
        self._left -= len(logprobs_NV)

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the file in its place if all rows are written, else remove it."""
        self._file.close()
        if self._left == 0:
            self._partial.rename(self._path)
        else:
            self._partial.unlink(missing_ok=True)


class LogitsReader:
    """A file's windows and, in order, its rows."""

    def __init__(self, path: Path) -> None:
        """Raises RequestError where there is no such file or it is damaged."""
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise RequestError(f"{path}: cannot be read ({error.strerror})") from None
        size = os.fstat(self._file.fileno()).st_size
        header = self._file.read(_HEADER.size)
        if len(header) < _HEADER.size or not header.startswith(_MAGIC):
            self._file.close()
            raise RequestError(f"{path}: is no file of log-probabilities; --kl-base writes one")
        _, C, self.vocab_size, W = _HEADER.unpack(header)
        scored = C - 1 - C // 2
        self._row = _row_words(self.vocab_size)
        expected = _HEADER.size + W * C * 4 + W * scored * self._row * 2
        if W < 1 or C < 4 or self.vocab_size < 1 or size != expected:
            self._file.close()
            raise RequestError(
                f"{path}: {size} bytes, expected {expected} for {W} windows of {C} tokens and a "
                f"vocabulary of {self.vocab_size}; it is damaged, write it again"
            )
        ids = np.frombuffer(self._file.read(W * C * 4), "<i4").reshape(W, C)
        self.windows = Windows(ids.astype(np.int32), scored)

    def read(self, count: int) -> NDArray[np.float64]:
        """The next rows' log-probabilities [count, V], rounded; no less than the file's reach."""
        words = np.frombuffer(self._file.read(count * self._row * 2), "<u2")
        return _decode(words.reshape(count, self._row), self.vocab_size)

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()


def _row_words(vocab_size: int) -> int:
    return vocab_size + vocab_size % 2 + 4


def _encode(logprobs_NV: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Rows as the file has them, uint16 [N, row]."""
    N, V = logprobs_NV.shape
    highest_N = logprobs_NV.max(axis=1)
    lowest_N = np.maximum(logprobs_NV.min(axis=1), highest_N - _REACH).astype("<f4")
    scale_N = ((highest_N - lowest_N) / _LEVELS).astype("<f4")
    steps_N = np.where(scale_N > 0, scale_N, 1.0).astype(np.float64)
    levels_NV = np.rint((logprobs_NV - lowest_N[:, None]) / steps_N[:, None])
    words = np.zeros((N, _row_words(V)), "<u2")
    words[:, :4] = np.stack([scale_N, lowest_N], axis=1).view("<u2")
    words[:, 4 : 4 + V] = np.clip(levels_NV, 0, _LEVELS).astype("<u2")
    return words


def _decode(words: NDArray[np.uint16], vocab_size: int) -> NDArray[np.float64]:
    ends = words[:, :4].copy().view("<f4").astype(np.float64)
    logprobs_NV: NDArray[np.float64] = words[:, 4 : 4 + vocab_size] * ends[:, :1] + ends[:, 1:]
    return logprobs_NV
