"""Models by name: a local path, or a repository on the Hugging Face hub.

The hub's cache, endpoint, token and offline switch are those of `huggingface_hub` (HF_HOME,
HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE).
"""

import re
from pathlib import Path

from cl_llama.errors import CheckpointError

_REPOSITORY = re.compile(
    r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII
)
_FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".gguf", ".json")
_DOWNLOADED = ("*.safetensors", "*.json", "*.model", "tokenizer*", "*.jinja")
_SKIPPED = (
    *("*/*.safetensors", "*/*.json", "*/*.model", "*/tokenizer*", "tokenizer*/*"),
    *("consolidated*", "*.onnx*", "*.bin", "*.pth"),
)
"""What lies in folders, but for further chat templates, and Meta's or Mistral's second copy of the
weights."""


def resolve_model(path_or_repo_id: str, *, progress: bool) -> Path:
    """The local path of a model.

    An existing path wins. Else `organisation/model`, optionally with `@revision` (a branch, tag or
    commit), is looked up on the Hugging Face hub: its safetensors, configuration and tokenizer are
    downloaded into the hub's cache unless they are there. `progress` shows bars on stderr.

    Raises CheckpointError where there is no such path or model, or it cannot be downloaded.
    """
    name = str(path_or_repo_id)
    try:
        path = Path(name).expanduser()
        if name and path.exists():
            return path
    except (OSError, ValueError, RuntimeError):
        raise CheckpointError(f"{name[:200]!r}: not a path that this system can look up") from None
    repository = _REPOSITORY.fullmatch(name)
    if repository is None or name.endswith(_FILE_SUFFIXES) or ".." in name:
        raise CheckpointError(
            f"{name[:200]!r}: no such file or folder (a model on the hub is named"
            " organisation/model)"
        )
    return _download(name, repository["id"], repository["revision"], progress)


def _download(name: str, repo_id: str, revision: str | None, progress: bool) -> Path:
    try:
        import huggingface_hub
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
        folder = Path(
            huggingface_hub.snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=list(_DOWNLOADED),
                ignore_patterns=list(_SKIPPED),
            )
        )
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
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{name!r}: this model on the hub has no safetensors files")
    return folder


def _unreachable(error: Exception) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "not (completely) in the cache, and HF_HUB_OFFLINE forbids to download it"
    cause = error.__cause__ or error
    return f"not (completely) in the cache, and the hub cannot be reached ({_one_line(cause)})"


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
