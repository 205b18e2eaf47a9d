"""Where the time of a step goes: kernel by kernel, and to the host."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cl_llama.bench.measure import Case
from cl_llama.bench.timing import decode_seconds, prefill_seconds
from cl_llama.models.decoder import Decoder
from cl_llama.opencl.profile import Total, totals

if TYPE_CHECKING:
    from rich.table import Table

_STEPS = 8
"""Decode steps that are profiled."""


@dataclass(frozen=True, eq=False)
class StepProfile:
    """The commands of a prompt's pass, or of some decode steps."""

    case: Case
    steps: int
    wall_s: float
    """Of all steps, on the host's clock."""
    totals: Sequence[Total]
    """Of all steps."""

    @property
    def device_s(self) -> float:
        """What all commands took; they run one after the other."""
        return sum(total.seconds for total in self.totals)

    @property
    def host_share(self) -> float:
        """The part of the time in which the device had nothing to run."""
        return max(0.0, 1.0 - self.device_s / self.wall_s)

    def as_json(self) -> dict[str, Any]:
        """Seconds, bytes and FLOPs are those of one step."""
        return {
            "test": self.case.name,
            "batch": self.case.batch,
            "depth": self.case.depth,
            "step_s": self.wall_s / self.steps,
            "host_share": self.host_share,
            "commands": [
                {
                    "name": total.name,
                    "what": total.what,
                    "launches": total.count / self.steps,
                    "seconds": total.seconds / self.steps,
                    "share": total.seconds / self.wall_s,
                    "gb_s": _giga(total.nbytes, total.seconds),
                    "gflops": _giga(total.flops, total.seconds),
                }
                for total in self.totals
            ],
        }

    def table(self) -> "Table":
        """A row a kind of command."""
        from rich import box
        from rich.table import Table

        case = self.case
        table = Table(
            box=box.SIMPLE_HEAD,
            title=f"{case.name}, batch {case.batch}, depth {case.depth}: a step of "
            f"{1e3 * self.wall_s / self.steps:.2f} ms with profiling",
            title_justify="left",
        )
        table.add_column("command", no_wrap=True)
        table.add_column("sizes", overflow="fold")
        for name in ("launches", "ms", "share", "GB/s", "GFLOP/s"):
            table.add_column(name, justify="right", no_wrap=True)
        for total in self.totals:
            rates = (
                _giga(total.nbytes, total.seconds),
                _giga(total.flops, total.seconds) if total.flops else None,
            )
            table.add_row(
                total.name,
                total.what,
                f"{total.count / self.steps:.0f}",
                f"{1e3 * total.seconds / self.steps:.3f}",
                f"{total.seconds / self.wall_s:.1%}",
                *("" if rate is None else f"{rate:.1f}" for rate in rates),
            )
        idle = max(0.0, self.wall_s - self.device_s)
        table.add_row(
            "(host)", "", "", f"{1e3 * idle / self.steps:.3f}", f"{self.host_share:.1%}", "", ""
        )
        return table


def profile(model: Decoder, case: Case) -> StepProfile:
    """Profile a case whose kernels are built.

    Raises:
        DeviceError: the device failed, or does not profile.
    """
    steps = 1 if case.kind == "pp" else min(_STEPS, case.tokens)
    with model.runtime.profile() as profiled:
        if case.kind == "pp":
            wall_s = prefill_seconds(model, case.tokens, case.depth)
        else:
            wall_s = sum(decode_seconds(model, case.batch, case.depth, steps))
    return StepProfile(case, steps, wall_s, totals(profiled.commands()))


def _giga(amount: int | None, seconds: float) -> float | None:
    return None if amount is None or seconds <= 0 else 1e-9 * amount / seconds
