"""Models by name: a local path, or a repository on the Hugging Face hub.

The hub's cache, endpoint, token and offline switch are those of `huggingface_hub` (HF_HOME,
HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE).
"""

import contextlib
import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cl_llama.checkpoints.hub_gguf import choose_gguf, parts_of
from cl_llama.errors import CheckpointError

_NAME = re.compile(
    r"(?:(?:https://)?(?:hf\.co|huggingface\.co)/)?"
    r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)"
    r"(?:@(?P<revision>[\w./-]+?))?"
    r"(?:/(?P<file>[\w./ +-]+\.gguf)|:(?P<tag>[\w.-]+))?",
    re.ASCII,
)
_FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".gguf", ".json")
_DOWNLOADED = ("*.safetensors", "*.json", "*.model", "tokenizer*", "*.jinja")
_SKIPPED = (
    *("*/*.safetensors", "*/*.json", "*/*.model", "*/tokenizer*", "tokenizer*/*"),
    *("consolidated*", "*.onnx*", "*.bin", "*.pth"),
)
"""What lies in folders, but for further chat templates, and Meta's or Mistral's second copy of the
weights."""


@dataclass(frozen=True)
class _Repository:
    """A model on the hub."""

    name: str
    """As it was given; errors name it."""
    id: str
    revision: str | None


def resolve_model(path_or_repo_id: str, *, progress: bool) -> Path:
    """The local path of a model.

    An existing path wins. Else `organisation/model`, optionally with `@revision` (a branch, tag or
    commit), is looked up on the Hugging Face hub, and what it needs is downloaded into the hub's
    cache unless it is there: its safetensors, configuration and tokenizer; or, where it has none,
    its GGUF file. `organisation/model:Q4_K_M` is the GGUF file of a quantisation,
    `organisation/model/FILE.gguf` a certain one; of a split one all files are downloaded. In front
    `hf.co/` may stand. `progress` shows bars on stderr.

    Raises CheckpointError where there is no such path or model, it cannot be downloaded, or the
    name could mean several GGUF files.
    """
    name = str(path_or_repo_id)
    try:
        path = Path(name).expanduser()
        if name and path.exists():
            return path
    except (OSError, ValueError, RuntimeError):
        raise CheckpointError(f"{name[:200]!r}: not a path that this system can look up") from None
    found = _NAME.fullmatch(name)
    file = found and found["file"]
    if found is None or ".." in name or (file is None and name.endswith(_FILE_SUFFIXES)):
        raise CheckpointError(
            f"{name[:200]!r}: no such file or folder (a model on the hub is named"
            " organisation/model, organisation/model:Q4_K_M or organisation/model/FILE.gguf)"
        )
    repository = _Repository(name, found["id"], found["revision"])
    with _asking(name, progress):
        if file is not None:
            return _download_files(repository, parts_of(file))
        if found["tag"] is None:
            folder = _snapshot(repository, _DOWNLOADED, _SKIPPED)
            if any(folder.glob("*.safetensors")):
                return folder
        chosen = choose_gguf(name, _files(repository), found["tag"])
        if not chosen:
            kinds = "GGUF" if found["tag"] else "safetensors and no GGUF"
            raise CheckpointError(f"{name!r}: this model on the hub has no {kinds} files")
        return _download_files(repository, chosen)


def _snapshot(repository: _Repository, allowed: Sequence[str], ignored: Sequence[str] = ()) -> Path:
    """The folder in the cache, into which the files that match are downloaded."""
    import huggingface_hub

    folder = huggingface_hub.snapshot_download(
        repository.id,
        revision=repository.revision,
        allow_patterns=list(allowed),
        ignore_patterns=list(ignored),
    )
    return Path(folder)


def _download_files(repository: _Repository, files: Sequence[str]) -> Path:
    """The first of these files, all of them downloaded."""
    folder = _snapshot(repository, [glob.escape(file) for file in files])
    for file in files:
        if not (folder / file).exists():
            raise CheckpointError(
                f"{repository.name!r}: {file} is not among this model's files on the hub, or"
                " neither in the cache nor to be downloaded now"
            )
    return folder / files[0]


def _files(repository: _Repository) -> Iterable[str]:
    """What the repository holds, or where the hub cannot be asked, what of it is in the cache."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().model_info(repository.id, revision=repository.revision)
        return [file.rfilename for file in info.siblings or ()]
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise
    except Exception as error:  # the hub client passes on its HTTP library's own exceptions
        try:
            folder = huggingface_hub.snapshot_download(
                repository.id,
                revision=repository.revision,
                local_files_only=True,
                allow_patterns=[],  # whatever there is: none must be
            )
        except errors.LocalEntryNotFoundError:
            raise CheckpointError(f"{repository.name!r}: {_unreachable(error)}") from None
    return [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.gguf")]


@contextlib.contextmanager
def _asking(name: str, progress: bool) -> Iterator[None]:
    """The hub's exceptions become CheckpointErrors of one line; bars only where they are wanted."""
    try:
        from huggingface_hub import errors
        from huggingface_hub.utils.tqdm import (
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )
    except ImportError:
        raise CheckpointError(
            f"{name!r}: no such file or folder; to download models from the hub:"
            ' pip install "cl-llama[hub]"'
        ) from None
    hide = not progress and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    except CheckpointError:
        raise
    except errors.GatedRepoError:
        raise CheckpointError(
            f"{name!r}: the hub gives this model only to those who accepted its terms; accept them"
            f" on its page and log in (hf auth login, or HF_TOKEN)"
        ) from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(
            f"{name!r}: no such file or folder, and no such model on the hub; a private one needs"
            " a login (hf auth login, or HF_TOKEN)"
        ) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{name!r}: this model on the hub has no such revision") from None
    except errors.HFValidationError:
        raise CheckpointError(f"{name!r}: no such path, and no valid name on the hub") from None
    except errors.LocalEntryNotFoundError as error:
        raise CheckpointError(f"{name!r}: {_unreachable(error)}") from None
    except Exception as error:  # the hub client passes on its HTTP library's own exceptions
        raise CheckpointError(f"{name!r}: download failed ({_one_line(error)})") from None
    finally:
        if hide:
            enable_progress_bars()


def _unreachable(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "not (completely) in the cache, and HF_HUB_OFFLINE forbids to download it"
    cause = error.__cause__ or error
    return f"not (completely) in the cache, and the hub cannot be reached ({_one_line(cause)})"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
