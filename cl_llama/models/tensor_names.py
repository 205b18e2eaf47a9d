"""A checkpoint's tensors compared with those that its configuration makes one expect."""

from collections.abc import Callable, Iterable, Mapping

from cl_llama.checkpoints import Checkpoint, HostTensor
from cl_llama.errors import CheckpointError

_SHOWN = 4


def check_names(
    checkpoint: Checkpoint,
    tensors: Mapping[str, HostTensor],
    expected: Mapping[str, tuple[int, ...]],
    is_harmless: Callable[[str], bool],
) -> None:
    """Compare a checkpoint's tensors; `is_harmless` says which other names may be there.

    Raises CheckpointError with one line that names tensors that are missing, left over or of
    another shape.
    """
    missing = [name for name in expected if name not in tensors]
    left_over = [name for name in tensors if name not in expected and not is_harmless(name)]
    misshapen = [
        f"{name} is {list(tensors[name].shape)} and not {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    problems = [
        f"{len(names)} {what}: {_first(names)}"
        for what, names in (
            ("missing", missing),
            ("left over", left_over),
            ("of the wrong shape", misshapen),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path}: the tensors do not match the configuration, "
            f"{'; '.join(problems)}; is the configuration another model's?"
        )


def _first(names: Iterable[str]) -> str:
    shown = list(names)
    more = ["..."] if len(shown) > _SHOWN else []
    return ", ".join(shown[:_SHOWN] + more)
