"""Builds several kernels at once, in child processes that leave them in the cache.

Compilers of OpenCL drivers build one program at a time, whatever the number of threads.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

from cl_llama.errors import KernelBuildError
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.programs import expand_includes, is_cached, kernels_dir
from cl_llama.opencl.rehearsal import Defines
from cl_llama.opencl.runtime import Runtime

logger = logging.getLogger(__name__)

Program = tuple[str, Defines]
"""A file of kernels/ and the preprocessor symbols that it is built with."""

_FEWEST = 3
"""Missing programs from which on it pays to start processes."""
_MOST_CHILDREN = 8
_MOST_PROGRAMS = 200
"""Those of a model are about ten; an index is a byte."""
_CHILD = """\
import sys
from cl_llama.opencl.prebuild import _serve
_serve(*sys.argv[1:])
"""


@contextlib.contextmanager
def building_kernels(runtime: Runtime, programs: Iterable[Program]) -> Iterator[None]:
    """Build what the cache lacks while the block runs, and wait for it at the block's end.

    What cannot be built so, is left to the first use, which says why.
    """
    children = _start(runtime.device, _missing(runtime, programs))
    try:
        yield
        for child in children:
            child.wait()
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def _missing(runtime: Runtime, programs: Iterable[Program]) -> list[tuple[int, Program]]:
    """What neither runtime nor cache have, with the lengths of the sources, longest first."""
    missing = []
    for filename, defines in programs:
        if runtime.has_program(filename, defines):
            continue
        try:
            if is_cached(runtime.device, filename, dict(defines)) is False:
                length = len(expand_includes(kernels_dir(), filename))
                missing.append((length, (filename, defines)))
        except KernelBuildError:
            continue
    return sorted(missing, key=lambda item: -item[0])[:_MOST_PROGRAMS]


def _start(
    device: DeviceInfo, missing: list[tuple[int, Program]]
) -> list["subprocess.Popen[bytes]"]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = min(cores or 1, len(missing) // 2 + 1, _MOST_CHILDREN)
    if len(missing) < _FEWEST or count < 2 or device.type == "simulator":
        return []
    # The children share a pipe of indices, and each takes the next one when it is free.
    indices, filled = os.pipe()
    os.write(filled, bytes(range(len(missing))))
    os.close(filled)
    programs = json.dumps([program for _, program in missing])
    command = [sys.executable, "-P", "-c", _CHILD, str(device.index), device.label, programs]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    children = []
    try:
        for _ in range(count):
            child = subprocess.Popen(
                command,
                env=environment,
                stdin=indices,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            children.append(child)
    except (OSError, ValueError) as error:  # no interpreter to start: an embedded one
        logger.debug("kernels are built at their first use: %s", error)
    finally:
        os.close(indices)
    return children


def _serve(index: str, label: str, programs: str) -> None:
    """Build programs, whose indices standard input gives, for the sake of the cache."""
    from cl_llama.opencl.devices import list_devices
    from cl_llama.opencl.loader import import_pyopencl
    from cl_llama.opencl.programs import build_program

    (device,) = (d for d in list_devices() if d.index == int(index) and d.label == label)
    context = import_pyopencl().Context([device.handle])
    listed = json.loads(programs)
    while claimed := os.read(0, 1):
        filename, defines = listed[claimed[0]]
        with contextlib.suppress(KernelBuildError):
            build_program(context, device, filename, dict(defines))
