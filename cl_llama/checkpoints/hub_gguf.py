"""Which of a hub repository's GGUF files a name means: one model, whole or split."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from cl_llama.checkpoints.gguf import PART_NAME
from cl_llama.errors import CheckpointError

_DEFAULT = "Q4_K_M"
"""The quantisation that is taken where none is named, as llama.cpp and ollama do."""

_NO_MODEL = re.compile(r"(^|[-._/])(mmproj|imatrix)([-._]|$)", re.IGNORECASE)
"""What other programs store in GGUF beside a model."""

_SHOWN = 8
"""Files that an error names at most."""

_QUANTISATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d|MXFP4\w*|BF16|FP?16|FP?32))(?=[-./]|$)",
    re.IGNORECASE,
)


def choose_gguf(name: str, files: Iterable[str], tag: str | None) -> list[str]:
    """The files of the model that is meant, in the order of its parts; none: there is no GGUF.

    files: what the repository holds. tag: the quantisation, as file names spell it, in any case;
    None: Q4_K_M, or the only model there is.

    Raises CheckpointError with the choices, `name` in front, where none or several are meant.
    """
    models = _models(files)
    wanted = tag or _DEFAULT
    meant = list(models) if tag is None and len(models) == 1 else _tagged(models, wanted)
    if not models:
        return []
    if len(meant) == 1:
        return parts_of(models[meant[0]])
    raise CheckpointError(
        f"{name!r}: of this model's {len(models)} GGUF files on the hub"
        f" {'several are' if meant else 'none is'} {wanted}; add {_choices(models)}"
    )


def parts_of(file: str) -> list[str]:
    """The file's name, or those of all parts where it is of a split model."""
    part = PART_NAME.fullmatch(file)
    if part is None:
        return [file]
    count = int(part["count"])
    return [f"{part['name']}-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)]


def _models(files: Iterable[str]) -> dict[str, str]:
    """Each model's (first) file by its name: the path without its part and ending."""
    models: dict[str, str] = {}
    for file in sorted(files):
        if file.endswith(".gguf") and not _NO_MODEL.search(PurePosixPath(file).name):
            part = PART_NAME.fullmatch(file)
            models.setdefault(part["name"] if part else file.removesuffix(".gguf"), file)
    return models


def _tagged(models: Iterable[str], tag: str) -> list[str]:
    """The models whose names have the tag between separators."""
    pattern = re.compile(rf"(^|[-._/]){re.escape(tag)}([-./]|$)", re.IGNORECASE)
    found = [model for model in models if pattern.search(model)]
    in_file_name = [model for model in found if pattern.search(PurePosixPath(model).name)]
    return in_file_name or found


def _choices(models: dict[str, str]) -> str:
    """What to put behind the repository's name: the quantisation where each has one of its own."""
    tags = [found[-1] for found in map(_QUANTISATION.findall, models) if found]
    if len(set(tags)) == len(models):
        return "one of :" + ", :".join(tags)
    names = [f"/{file}" for file in models.values()]
    return "a file: " + ", ".join(names[:_SHOWN] + ["..."] * (len(names) > _SHOWN))
