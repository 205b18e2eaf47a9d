"""Imports pyopencl such that it sees the OpenCL runtimes that pip installed.

An OpenCL loader finds drivers by `.icd` files, each naming a library, in one vendors folder. The
wheel of Intel's CPU runtime (`pip install cl-llama[cpu]`) brings an `.icd` file whose path is a
placeholder, in a folder that no loader reads. So a private folder is made with a correct one and
with copies of the files of the folder that the loader would have read, and `OCL_ICD_VENDORS` names
it while the loader initialises. The environment is put back then: child processes and the rest
of the program find it as it was.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from cl_llama.errors import DeviceError
from cl_llama.opencl.cache import private_folder, write_file

INTEL_PACKAGE = "intel-opencl-rt"
INTEL_WHEELS = "intel-opencl-rt intel-cmplr-lib-rt"
INTEL_LIBRARY = "libintelocl.so"
INTEL_PLATFORM = "Intel(R) OpenCL"

_lock = threading.Lock()
_module: ModuleType | None = None
_problems: tuple[str, ...] = ()


def import_pyopencl() -> ModuleType:
    """Import pyopencl with every installed runtime in its loader's sight, once.

    A program that has initialised OpenCL before keeps the platforms that it has.

    Raises:
        DeviceError: pyopencl cannot be imported.
    """
    global _module, _problems
    with _lock:
        if _module is None:
            with _runtimes_in_sight() as library:
                try:
                    import pyopencl
                except (ImportError, OSError) as error:
                    raise DeviceError(
                        f"pyopencl cannot be imported ({' '.join(str(error).split())}); "
                        "pip install --upgrade --force-reinstall pyopencl"
                    ) from error
                # The first call makes the loader read its environment and open the drivers.
                platforms: list[str] = []
                with contextlib.suppress(pyopencl.Error):
                    platforms = [platform.name for platform in pyopencl.get_platforms()]
            if library is not None and INTEL_PLATFORM not in platforms:
                _problems = (_why_missing(library),)
            _module = pyopencl
        return _module


def loader_problems() -> tuple[str, ...]:
    """A line for every runtime that was found but did not load, after `import_pyopencl`."""
    return _problems


def find_intel_runtime() -> Path | None:
    """The library of Intel's CPU runtime as pip installed it, or None.

    It lies in `lib` of the prefix that the package was installed to: the environment, the user's
    base (`pip install --user`) or any other folder on `sys.path`.
    """
    beside_python = Path(sys.prefix, "lib", INTEL_LIBRARY)
    if beside_python.is_file():
        return beside_python
    try:
        files = importlib.metadata.files(INTEL_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == INTEL_LIBRARY:
            library = Path(file.locate()).resolve()
            if library.is_file():
                return library
    return None


def _why_missing(library: Path) -> str:
    """Why the loader has no platform of a library that it was told of."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{library} does not load: {error}; pip install --force-reinstall {INTEL_WHEELS}"
    return f"{library}: OpenCL was initialised before cl-llama could name it"


@contextlib.contextmanager
def _runtimes_in_sight() -> Iterator[Path | None]:
    """Let `OCL_ICD_VENDORS` name a folder with pip's runtimes too, for the time of the block.

    The value is the library that it names besides those that the loader finds anyway.
    """
    library = find_intel_runtime() if sys.platform == "linux" else None
    before = os.environ.get("OCL_ICD_VENDORS")
    sources = _vendor_folders(before)
    if library is None or sources is None:
        yield None
        return
    icd_files = _read_icd_files(sources)
    if any(_names_intel_runtime(text) for text in icd_files.values()):
        yield None
        return
    icd_files["cl-llama-intel-cpu.icd"] = f"{library}\n"
    with _folder_with(icd_files) as folder:
        if folder is None:
            yield None
            return
        os.environ["OCL_ICD_VENDORS"] = str(folder)
        try:
            yield library
        finally:
            if before is None:
                del os.environ["OCL_ICD_VENDORS"]
            else:
                os.environ["OCL_ICD_VENDORS"] = before


def _vendor_folders(chosen: str | None) -> list[Path] | None:
    """The folders whose `.icd` files the loader reads; None if the user chose a single driver.

    `OCL_ICD_VENDORS` may also name one `.icd` file or one library: that choice is left alone.
    """
    if chosen:
        return [Path(chosen)] if Path(chosen).is_dir() else None
    folders = [Path(os.environ.get("OPENCL_VENDOR_PATH") or "/etc/OpenCL/vendors")]
    if Path(sys.prefix, "conda-meta").is_dir():  # conda's loader reads its environment's folder
        folders.append(Path(sys.prefix, "etc", "OpenCL", "vendors"))
    return folders


def _read_icd_files(folders: list[Path]) -> dict[str, str]:
    """Name and text of every readable `.icd` file; of equal names the first stays."""
    texts: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.icd")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                texts.setdefault(path.name, path.read_text())
    return texts


def _names_intel_runtime(icd_text: str) -> bool:
    """Whether an `.icd` file names an Intel CPU runtime that is there: one is enough."""
    library = Path(icd_text.strip())
    return library.name.startswith(INTEL_LIBRARY) and library.is_absolute() and library.is_file()


@contextlib.contextmanager
def _folder_with(icd_files: dict[str, str]) -> Iterator[Path | None]:
    """A private folder that holds exactly these files: in the cache, else a temporary one.

    Its name is a digest of what it holds, so that concurrent processes agree on it.
    """
    digest = hashlib.sha256(repr(sorted(icd_files.items())).encode()).hexdigest()[:16]
    folder = private_folder(f"icd-{digest}")
    if folder is not None and _fill(folder, icd_files):
        yield folder
        return
    try:
        temporary = Path(tempfile.mkdtemp(prefix="cl-llama-icd-"))
    except OSError:
        yield None
        return
    try:
        yield temporary if _fill(temporary, icd_files) else None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(folder: Path, icd_files: dict[str, str]) -> bool:
    for name, text in icd_files.items():
        path = folder / name
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if path.read_text() == text:
                continue
        if not write_file(path, text.encode()):
            return False
    return True
