"""The host's memory, which CPU devices compute in."""

import functools
import os
from pathlib import Path

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
