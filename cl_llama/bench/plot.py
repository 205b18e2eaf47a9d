"""Draws a bench: tokens a second against context depth and against batch, the roofs drawn in."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_llama.bench.measure import Measured
from cl_llama.errors import RequestError

if TYPE_CHECKING:
    from cl_llama.bench.report import Report

_SIZE = (11.0, 4.5)
_DPI = 120


def check_plotting(path: str) -> None:
    """Raise RequestError, in one line, if matplotlib is missing or the file cannot be written."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RequestError(
            '--plot needs matplotlib; pip install "cl-llama[plot]" brings it'
        ) from None
    if Path(path).suffix.lower() != ".png":
        raise RequestError(f"--plot writes PNG files; {path!r} should end in .png")
    if not Path(path).resolve().parent.is_dir():
        raise RequestError(f"--plot: {Path(path).resolve().parent} is not a folder")


def draw(report: "Report", path: str) -> None:
    """Write the PNG; `check_plotting` comes before the measuring.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    limits, subject = report.limits, report.subject
    figure.suptitle(
        f"{subject.name}, {' and '.join(subject.format_bytes)}, "
        f"precision {subject.model.precision}, "
        f"{subject.runtime.device.platform}: "
        f"{limits.bytes_per_s / 1e9:.1f} GB/s, {limits.flops_per_s / 1e9:.0f} GFLOP/s"
    )
    depth_axes, batch_axes = figure.subplots(1, 2)
    _draw_side(
        report,
        depth_axes,
        "tokens of context",
        at=lambda result: result.case.depth,
        line=lambda result: (
            result.case.name if result.case.kind == "pp" else _batch_name(result.case.batch)
        ),
    )
    generated = [result for result in report.results if result.case.kind == "tg"]
    _draw_side(
        report,
        batch_axes,
        "sequences decoded together",
        at=lambda result: result.case.batch,
        line=lambda result: f"after {result.case.depth} tokens",
        results=generated,
    )
    figure.savefig(path, dpi=_DPI)


def _draw_side(
    report: "Report",
    axes: Any,
    label: str,
    at: Callable[[Measured], int],
    line: Callable[[Measured], str],
    results: Sequence[Measured] | None = None,
) -> None:
    """Lines of medians with their ranges, and of their roofs, dashed, in the same colours."""
    costs = report.subject.costs
    lines: dict[str, list[Measured]] = {}
    for result in report.results if results is None else results:
        lines.setdefault(line(result), []).append(result)
    for number, (name, points) in enumerate(lines.items()):
        points.sort(key=at)
        x = [at(point) for point in points]
        medians = [point.median for point in points]
        spread = [
            [point.median - min(point.rates) for point in points],
            [max(point.rates) - point.median for point in points],
        ]
        colour = f"C{number}"
        axes.errorbar(x, medians, yerr=spread, color=colour, marker="o", capsize=3, label=name)
        roofs = [point.roof(costs) for point in points]
        axes.plot(x, roofs, color=colour, linestyle="--", marker="_", linewidth=1)
    axes.plot([], [], color="grey", linestyle="--", linewidth=1, label="roof")
    axes.set_xlabel(label)
    axes.set_ylabel("tokens/s")
    axes.set_yscale("log")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(fontsize="small")


def _batch_name(batch: int) -> str:
    return "decode" if batch == 1 else f"decode, {batch} sequences"
