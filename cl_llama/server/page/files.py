"""The page's files, read once, under names that change whenever a file does."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFiles:
    """index.html, and the assets that it loads from `page/VERSION/`.

    All assets lie under one version, a hash of all of them: a page never mixes modules of two
    releases, and what a browser has kept stays valid for ever.
    """

    version: str
    index: bytes
    index_etag: str
    assets: Mapping[str, bytes]
    """By file name, such as "main.js"."""

    @staticmethod
    def media_type(name: str) -> str:
        """Content-Type of a file by its ending."""
        return MEDIA_TYPES[name[name.rindex(".") :]]


@functools.cache
def page_files() -> PageFiles:
    """Read the folder `static`, whether the package lies in files or in an archive."""
    contents = {
        entry.name: entry.read_bytes()
        for entry in sorted(files(__package__).joinpath("static").iterdir(), key=lambda e: e.name)
        if entry.name.endswith(tuple(MEDIA_TYPES))
    }
    index = contents.pop("index.html")
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    version = digest.hexdigest()[:16]
    index = index.replace(b'="page/', f'="page/{version}/'.encode())
    return PageFiles(version, index, _etag(index), contents)


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
