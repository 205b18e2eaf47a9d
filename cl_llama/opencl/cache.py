"""Private folders and files below the user's cache directory.

What lies there is executed by drivers or loaded as a library, so a folder that another user could
write to is refused. A cache that cannot be used costs time, never a failure: callers get None.
"""

import contextlib
import logging
import os
import stat
import tempfile
from pathlib import Path

import platformdirs

logger = logging.getLogger(__name__)

_refused: set[Path] = set()


def cache_root() -> Path:
    """Folder of all of cl-llama's caches: `CL_LLAMA_CACHE_DIR`, or the user's cache directory."""
    chosen = os.environ.get("CL_LLAMA_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("cl-llama", appauthor=False))


def private_folder(name: str) -> Path | None:
    """The folder `name` of the cache, made with mode 0700 where it is missing.

    None if it cannot be made, belongs to somebody else, or lets others write; the last two are
    logged as a warning, once a folder.
    """
    folder = cache_root() / name
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        logger.debug("no cache at %s: %s", folder, error)
        return None
    if os.name == "posix":
        reason = None
        if status.st_uid != os.geteuid():
            reason = "belongs to another user"
        elif stat.S_IMODE(status.st_mode) & 0o022:
            reason = "can be written by other users (chmod go-w makes it usable)"
        if reason is not None:
            if folder not in _refused:
                _refused.add(folder)
                logger.warning("the cache folder %s is not used: it %s", folder, reason)
            return None
    return folder


def write_file(path: Path, content: bytes) -> bool:
    """Write `path` with mode 0600 so that a reader sees the old file or the new one whole.

    False where the folder is read-only, the disk is full, or the like.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        logger.debug("could not write %s: %s", path, error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
        return False
    return True
