"""What a device was busy with: the times of its commands, by OpenCL's own events."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Work:
    """What a launch cannot help doing, told by the operation that makes it."""

    what: str
    """Tells launches of one kernel apart: the sizes of a matrix."""
    nbytes: int
    """Read and written; counted once, though caches may miss."""
    flops: int


@dataclass(frozen=True, slots=True)
class Command:
    """A kernel or a copy that has run."""

    name: str
    seconds: float
    work: Work | None


class Profile:
    """Collects the commands that a runtime queues while it profiles."""

    def __init__(self) -> None:
        self._queued: list[tuple[str, Any, Work | None]] = []
        self._announced: Work | None = None

    def announce(self, work: Work) -> None:
        """The next kernel does this."""
        self._announced = work

    def add_kernel(self, name: str, event: Any) -> None:
        """A kernel was queued."""
        self._queued.append((name, event, self._announced))
        self._announced = None

    def add_copy(self, name: str, event: Any, nbytes: int) -> None:
        """A copy was queued."""
        self._queued.append((name, event, Work("", nbytes, 0)))

    def commands(self) -> list[Command]:
        """All of them in order; the queue must have finished."""
        return [
            Command(name, 1e-9 * (event.profile.end - event.profile.start), work)
            for name, event, work in self._queued
        ]


@dataclass(frozen=True, slots=True)
class Total:
    """All commands of one name and kind together."""

    name: str
    what: str
    count: int
    seconds: float
    nbytes: int | None
    """None: the operation does not tell."""
    flops: int | None


def totals(commands: Iterable[Command]) -> list[Total]:
    """Commands of one name and kind added up, those that took longest first."""
    kinds: dict[tuple[str, str], list[Command]] = {}
    for command in commands:
        what = "" if command.work is None else command.work.what
        kinds.setdefault((command.name, what), []).append(command)
    added = []
    for (name, what), same in kinds.items():
        works = [command.work for command in same if command.work is not None]
        known = len(works) == len(same)
        added.append(
            Total(
                name,
                what,
                len(same),
                sum(command.seconds for command in same),
                sum(work.nbytes for work in works) if known else None,
                sum(work.flops for work in works) if known else None,
            )
        )
    return sorted(added, key=lambda total: -total.seconds)
