"""A file mapped read-only into memory, whose pages can be given back one range at a time."""

import contextlib
import errno
import math
import mmap
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cl_llama.errors import CheckpointError

_DONTNEED = getattr(mmap, "MADV_DONTNEED", None)
_HUGEPAGE = getattr(mmap, "MADV_HUGEPAGE", None)
_POPULATE_READ = 22 if sys.platform == "linux" else None
"""Linux 5.14's advice to bring pages into memory, which Python has no name for."""


class MappedFile:
    """A read-only map of one file, made at the first access.

    `transient` files are unmapped by `release` as a whole: for checkpoints that are thousands of
    small files, where a descriptor each would exceed the process's limit.

    Raises CheckpointError where the file is missing, unreadable, no plain file or empty.
    """

    def __init__(self, path: Path, *, transient: bool = False) -> None:
        """Look the file up; `size` is its length in bytes."""
        self.path = path
        self.transient = transient
        self._closed = False
        self._map: mmap.mmap | None = None
        self._lock = threading.Lock()
        try:
            if path.exists() and not path.is_file():
                raise CheckpointError(f"{path}: expected a file, got a folder or a device")
            self.size = path.stat().st_size
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from None
        if self.size == 0:
            raise CheckpointError(f"{path}: the file is empty; copy or download it again")

    def _mapped(self) -> mmap.mmap:
        with self._lock:
            if self._closed:
                raise CheckpointError(f"{self.path}: the checkpoint is closed; open it again")
            if self._map is None:
                try:
                    with self.path.open("rb") as file:
                        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                except (OSError, ValueError) as error:
                    raise CheckpointError(f"{self.path}: cannot be mapped ({error})") from None
                if len(self._map) < self.size:
                    raise CheckpointError(
                        f"{self.path}: had {self.size} bytes when it was opened, has"
                        f" {len(self._map)} now; it was changed meanwhile"
                    )
            return self._map

    def read(self, start: int, length: int) -> bytes:
        """A copy of `length` bytes from `start`.

        Raises CheckpointError where the file ends before.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise CheckpointError(
                f"{self.path}: bytes {start} to {start + length} are needed, the file has"
                f" {self.size}; it is truncated or damaged"
            )
        return self._mapped()[start : start + length]

    def array(self, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A view of the mapped bytes from `start` as an array; the caller has checked the range."""
        mapped = self._mapped()
        count = math.prod(shape)
        if count == 0:
            return np.zeros(shape, dtype)
        # frombuffer, unlike np.ndarray(buffer=...), keeps the map open while the array lives.
        return np.frombuffer(mapped, dtype, count, start).reshape(shape)

    def memory(self) -> NDArray[np.uint8]:
        """The whole file; it stays mapped while the array lives, longer than the checkpoint."""
        return self.array(0, (self.size,), np.dtype(np.uint8))

    def populate(self, start: int, length: int) -> None:
        """Bring the pages of a range into memory, so that no later access waits for them.

        They are huge ones where the system can read the file into such, which kernels stream
        through faster. Raises CheckpointError where the file cannot be read there.
        """
        mapped = self._mapped()
        first = start - start % mmap.PAGESIZE
        if _HUGEPAGE is not None:
            with contextlib.suppress(OSError):  # a kernel built without them
                mapped.madvise(_HUGEPAGE, first, start + length - first)
        if _POPULATE_READ is not None:
            try:
                mapped.madvise(_POPULATE_READ, first, start + length - first)
            except OSError as error:
                if error.errno != errno.EINVAL:  # an older kernel
                    raise CheckpointError(
                        f"{self.path}: bytes {start} to {start + length} cannot be read ({error});"
                        " was the file cut short meanwhile?"
                    ) from None
            else:
                return
        np.frombuffer(mapped, np.uint8, start + length - first, first)[:: mmap.PAGESIZE].max()

    def release(self, start: int, length: int) -> None:
        """Drop the pages of a range from resident memory; an access brings them back."""
        with self._lock:
            mapped = self._map
            if mapped is None:
                return
            if self.transient:
                try:
                    mapped.close()
                except BufferError:  # someone still reads a view: the pages are dropped below
                    pass
                else:
                    self._map = None
                    return
            if _DONTNEED is not None and length > 0:
                first = start - start % mmap.PAGESIZE
                mapped.madvise(_DONTNEED, first, start + length - first)

    def close(self) -> None:
        """Unmap the file; views that are still alive keep their pages until they go."""
        with self._lock:
            self._closed = True
            mapped, self._map = self._map, None
            if mapped is not None:
                with contextlib.suppress(BufferError):  # then the last view's end unmaps it
                    mapped.close()
