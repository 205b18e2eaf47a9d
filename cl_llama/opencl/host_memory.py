"""The host's memory, which CPU devices compute in."""

import contextlib
import functools
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE = 2 << 20
"""Bytes of the pages that `huge_pages` asks for."""

_HUGEPAGE = getattr(mmap, "MADV_HUGEPAGE", None)
_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def host_memory_bytes() -> int:
    """The host's memory, less where a container's limit is lower; 0 if it cannot be told.

    CPU runtimes report less than that: PoCL only what has been free so far.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0
    for limit in _LIMIT_FILES:
        try:
            text = Path(limit).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            memory = min(memory, int(text))
    return memory


def available_host_memory_bytes() -> int:
    """What a program may still take without swapping, caches of files included; 0 if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return host_memory_bytes()
    for line in lines:
        if line.startswith("MemAvailable:"):
            return min(int(line.split()[1]) * 1024, host_memory_bytes())
    return host_memory_bytes()


def huge_pages(nbytes: int) -> NDArray[np.uint8] | None:
    """Zeroed memory of which the system is asked for huge pages; None where it has no such thing.

    Kernels that stream through it reach more of the memory's bandwidth than through the small pages
    that drivers allocate. It begins at a huge page; a last piece of less than half a one is small.
    """
    if _HUGEPAGE is None:
        return None
    rounded = (nbytes + HUGE_PAGE // 2) // HUGE_PAGE * HUGE_PAGE
    memory = mmap.mmap(-1, max(nbytes, rounded) + HUGE_PAGE, flags=mmap.MAP_PRIVATE)
    with contextlib.suppress(OSError):  # a kernel built without them
        memory.madvise(_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -whole.ctypes.data % HUGE_PAGE
    return whole[start : start + nbytes]
