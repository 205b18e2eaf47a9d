"""Finds, builds and caches kernels.

A built program's binary is kept below the cache directory, so that only the first start compiles.
pyopencl's own cache is bypassed: on a miss it appends a random constant to the source, which
defeats the driver's cache.
"""

import functools
import hashlib
import json
import logging
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_llama.errors import KernelBuildError
from cl_llama.opencl.cache import cache_root, private_folder, write_file
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.loader import import_pyopencl

if TYPE_CHECKING:
    import pyopencl as cl

logger = logging.getLogger(__name__)

# No relaxed-math option: infinities mask attention scores, and denormals are ordinary f16 weights.
# Oclgrind computes wrongly what its own optimiser makes of some kernels, and knows no prefetch.
BUILD_OPTIONS = ("-cl-std=CL1.2", "-cl-mad-enable")

_FOLDER = "programs"
_SUFFIX = ".clbin"
_MAGIC = b"cl-llama program 1\n"

# Comments and strings are matched so that an #include inside one is left alone.
_INCLUDE = re.compile(
    r'/\*.*?\*/|//[^\n]*|^[ \t]*#[ \t]*include[ \t]*"(?P<name>[^"\n]+)"[^\n]*'
    r'|"(?:\\.|[^"\\\n])*"',
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class CacheInfo:
    """The cache of built programs: its folder, number of entries, and their size together."""

    path: Path
    entries: int
    bytes: int


def kernels_dir() -> Path:
    """The folder of the .cl files: in the package, or beside it in a checkout or sdist.

    Raises:
        KernelBuildError: the installation has none.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "kernels", package.parent / "kernels"):
        if folder.is_dir():
            return folder
    raise KernelBuildError(f"no kernels folder in or beside {package}; reinstall cl-llama")


def build_program(
    context: "cl.Context",
    device: DeviceInfo,
    filename: str,
    defines: Mapping[str, int | float | str],
) -> "cl.Program":
    """Build a kernel file for a device, or load its binary from the cache.

    Args:
        context: a context with the device, or a sub-device of it, in it.
        device: what to build for.
        filename: a file of `kernels_dir()`.
        defines: preprocessor symbols; floats become f32 literals.

    Raises:
        KernelBuildError: the file is missing or the device's compiler refuses it.
    """
    source = expand_includes(kernels_dir(), filename)
    options = _options(device, defines)
    # A context of some of a CPU's cores has a sub-device in the device's place.
    handle = device.handle if device.handle in context.devices else context.devices[0]
    path, key = None, ""
    folder = private_folder(_FOLDER)
    if folder is not None:
        key = cache_key(device, source, options)
        path = folder / f"{key}{_SUFFIX}"
        program = _load(context, handle, options, path, key)
        if program is not None:
            return program
    program = _compile(context, handle, device, filename, source, options)
    if path is not None:
        _store(program, handle, path, key)
    return program


def is_cached(
    device: DeviceInfo, filename: str, defines: Mapping[str, int | float | str]
) -> bool | None:
    """Whether the cache has an entry for a program; None where there is no cache.

    Raises:
        KernelBuildError: the file is missing.
    """
    folder = private_folder(_FOLDER)
    if folder is None:
        return None
    source = expand_includes(kernels_dir(), filename)
    return (folder / f"{cache_key(device, source, _options(device, defines))}{_SUFFIX}").exists()


def expand_includes(folder: Path, filename: str) -> str:
    """The text of a kernel file with each `#include "x.cl"` replaced by that file, once.

    A file included before expands to nothing, so cycles end. `#line` keeps the compiler's
    messages at the file and line that a person sees.

    Raises:
        KernelBuildError: a file cannot be read; names it and who includes it.
    """
    seen: set[str] = set()

    def expand(name: str, included_by: str) -> str:
        seen.add(name)
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KernelBuildError(
                f"{name}{included_by}: cannot be read in {folder} ({error}); reinstall cl-llama"
            ) from error

        def replace(match: re.Match[str]) -> str:
            inner = match["name"]
            if inner is None:
                return match[0]
            next_line = text.count("\n", 0, match.end()) + 2
            if inner in seen:
                return ""
            body = expand(inner, f", included by {name}")
            return f'{body}\n#line {next_line} "{name}"'

        return f'#line 1 "{name}"\n{_INCLUDE.sub(replace, text)}'

    return expand(filename, "")


def cache_key(device: DeviceInfo, source: str, options: tuple[str, ...]) -> str:
    """Digest of everything that a binary depends on, the CPU's features on CPU devices included."""
    parts = [
        _MAGIC.decode(),
        source,
        list(options),
        device.platform,
        device.platform_version,
        device.name,
        device.vendor,
        device.version,
        device.driver,
        _cpu_features() if device.is_cpu else "",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cache_info() -> CacheInfo:
    """Where built programs are kept, how many there are, and their bytes."""
    folder = cache_root() / _FOLDER
    sizes = []
    for path in folder.glob(f"*{_SUFFIX}"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:  # removed meanwhile
            continue
    return CacheInfo(folder, len(sizes), sum(sizes))


def clear_cache() -> int:
    """Remove every built program from the cache; the number of entries that were removed."""
    removed = 0
    folder = cache_root() / _FOLDER
    for path in (*folder.glob(f"*{_SUFFIX}"), *folder.glob(".*.tmp")):
        try:
            path.unlink()
        except OSError:
            continue
        removed += path.suffix == _SUFFIX
    return removed


def _options(device: DeviceInfo, defines: Mapping[str, int | float | str]) -> tuple[str, ...]:
    return (
        *BUILD_OPTIONS,
        *(["-cl-opt-disable", "-DNO_PREFETCH"] if device.platform == "Oclgrind" else []),
        *(["-DGPU"] if device.type == "gpu" else []),
        *(f"-D{k}={_literal(v)}" for k, v in sorted(defines.items())),
    )


def _literal(value: int | float | str) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value!r}f"  # a literal without suffix is a double, which few devices have
    return str(value)


@functools.cache
def _cpu_features() -> str:
    """The CPU's model and features, which a CPU runtime compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("model name", "flags", "Features")
    return "\n".join(line for line in lines if line.startswith(wanted))


def _compile(
    context: "cl.Context",
    handle: "cl.Device",
    device: DeviceInfo,
    filename: str,
    source: str,
    options: tuple[str, ...],
) -> "cl.Program":
    cl = import_pyopencl()
    # The bare program object: pyopencl's wrapper would cache, and warn of the compiler's remarks.
    program = None
    try:
        program = cl._Program(context, source)
        program._build(" ".join(options).encode(), [handle])
    except cl.Error as error:
        log = _build_log(program, handle) or _one_line(error)
        raise KernelBuildError(
            f"{filename} does not build on device {device.label} (driver {device.driver}) "
            f"with {' '.join(options)}; compiler's log:\n{log}"
        ) from error
    log = _build_log(program, handle)
    if log:
        logger.debug("%s on %s: %s", filename, device.label, log)
    return cl.Program(program)  # type: ignore[no-any-return]


def _build_log(program: Any, handle: "cl.Device") -> str:
    cl = import_pyopencl()
    if program is None:
        return ""
    try:
        log = program.get_build_info(handle, cl.program_build_info.LOG)
    except (cl.Error, UnicodeDecodeError):
        return ""
    return str(log).strip("\0 \n\t")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _load(
    context: "cl.Context", handle: "cl.Device", options: tuple[str, ...], path: Path, key: str
) -> "cl.Program | None":
    """The program of a cache entry, or None if it is missing, damaged or refused."""
    cl = import_pyopencl()
    try:
        content = path.read_bytes()
    except OSError:
        return None
    binary = _unpack(content, key)
    if binary is None:
        logger.debug("rebuilding the damaged cache entry %s", path)
        return None
    try:
        program = cl._Program(context, [handle], [binary])
        program._build(" ".join(options).encode(), [handle])
    except cl.Error as error:
        logger.debug("the driver refuses the cache entry %s: %s", path, _one_line(error))
        return None
    return cl.Program(program)  # type: ignore[no-any-return]


def _store(program: Any, handle: "cl.Device", path: Path, key: str) -> None:
    cl = import_pyopencl()
    try:
        if "Mali" in handle.name:
            program.all_kernels()  # its binary lacks what is compiled when a kernel is created
        devices = program.get_info(cl.program_info.DEVICES)
        binaries = program.get_info(cl.program_info.BINARIES)
        binary = binaries[devices.index(handle)]
    except cl.Error as error:
        logger.debug("no binary of %s: %s", path.name, _one_line(error))
        return
    if binary:
        write_file(path, _pack(binary, key))


def _pack(binary: bytes, key: str) -> bytes:
    """An entry: magic, digest of what follows, key, binary."""
    body = bytes.fromhex(key) + binary
    return _MAGIC + hashlib.sha256(body).digest() + body


def _unpack(content: bytes, key: str) -> bytes | None:
    """The binary in an entry's bytes; None if they are damaged or another program's."""
    start = len(_MAGIC)
    digest, body = content[start : start + 32], content[start + 32 :]
    if content[:start] != _MAGIC or hashlib.sha256(body).digest() != digest:
        return None
    return body[32:] if body[:32] == bytes.fromhex(key) else None
