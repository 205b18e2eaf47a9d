"""The most memory that this process has had."""

import ctypes
import sys


def peak_rss_bytes() -> int:
    """Peak of the process's resident memory so far, mapped pages included; 0 if it is not told."""
    if sys.platform == "win32":
        return _peak_working_set_bytes()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if sys.platform == "win32":

    class _ProcessMemoryCounters(ctypes.Structure):
        """PROCESS_MEMORY_COUNTERS of psapi.h."""

        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("PageFaultCount", ctypes.c_uint32),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("WorkingSetSize", ctypes.c_size_t),
            ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPagedPoolUsage", ctypes.c_size_t),
            ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
            ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
            ("PagefileUsage", ctypes.c_size_t),
            ("PeakPagefileUsage", ctypes.c_size_t),
        )

    def _peak_working_set_bytes() -> int:
        counters = _ProcessMemoryCounters()
        counters.cb = ctypes.sizeof(counters)
        get = ctypes.windll.kernel32.K32GetProcessMemoryInfo
        get.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32)
        process = ctypes.windll.kernel32.GetCurrentProcess
        process.restype = ctypes.c_void_p
        found = get(process(), ctypes.byref(counters), counters.cb)
        return int(counters.PeakWorkingSetSize) if found else 0
