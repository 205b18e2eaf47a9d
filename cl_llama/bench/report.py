"""What a bench found, as a table for people and as an object for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cl_llama.bench.measure import Measured
from cl_llama.bench.profile import StepProfile
from cl_llama.bench.roofs import Sample, best
from cl_llama.bench.subject import Settings, Subject

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, eq=False)
class Report:
    """A finished bench."""

    subject: Subject
    settings: Settings
    results: Sequence[Measured]
    read_bytes: int
    """What each measurement of the bandwidth read."""
    profiles: Sequence[StepProfile] = ()

    @property
    def limits(self) -> Sample:
        """The best of the whole run."""
        return best([result.limits for result in self.results])

    def as_json(self) -> dict[str, Any]:
        """Everything; rates in tokens, 1e9 bytes and 1e9 FLOPs a second."""
        subject, limits = self.subject, self.limits
        model, device = subject.model, subject.runtime.device
        return {
            "device": device.label,
            "driver": device.driver,
            "cores": subject.runtime.compute_units,
            "model": subject.name,
            "weight_bytes": model.memory.weight_bytes,
            "weight_formats": dict(subject.format_bytes),
            "quantize": self.settings.quantize,
            "kv_type": self.settings.kv_type,
            "precision": model.precision,
            "matrix_unit": subject.runtime.matrix_unit,
            "bandwidth_gb_s": _rounded(limits.bytes_per_s / 1e9),
            "gflops_roof": _rounded(limits.flops_per_s / 1e9),
            "load_s": _rounded(subject.load_s),
            "first_token_s": _rounded(subject.first_tokens.first),
            "first_token_again_s": _rounded(subject.first_tokens.second),
            "first_token_prompt": subject.first_tokens.prompt_tokens,
            "kernels_built": subject.kernels_built,
            "peak_rss_bytes": subject.peak_rss_bytes,
            "results": [self._result(result) for result in self.results],
        } | ({"profile": [p.as_json() for p in self.profiles]} if self.profiles else {})

    def _result(self, result: Measured) -> dict[str, Any]:
        costs, limits = self.subject.costs, result.limits
        return {
            "test": result.case.name,
            "batch": result.case.batch,
            "depth": result.case.depth,
            "tokens_per_s": _rounded(result.median),
            "roof_share": _rounded(result.share(costs)),
            "roof": result.bound_by(costs),
            "roof_tokens_per_s": _rounded(result.roof(costs)),
            "tokens_per_s_min": _rounded(min(result.rates)),
            "tokens_per_s_max": _rounded(max(result.rates)),
            "repetitions": [_rounded(rate) for rate in result.rates],
            "bandwidth_gb_s": _rounded(limits.bytes_per_s / 1e9),
            "gflops_roof": _rounded(limits.flops_per_s / 1e9),
        }

    def lines(self) -> list[str]:
        """What stands above the table."""
        subject, limits = self.subject, self.limits
        memory, first = subject.model.memory, subject.first_tokens
        step_bytes = subject.costs.decode(1, 0).nbytes
        formats = " and ".join(subject.format_bytes)
        kernels = (
            f"{subject.kernels_built} kernels built"
            if subject.kernels_built
            else "all kernels from the cache"
        )
        unit = subject.runtime.matrix_unit
        return [
            f"device       {subject.runtime.device.label}"
            f" ({f'matrix unit {unit}' if unit else 'no matrix unit in use'})",
            f"model        {subject.name}, {_size(memory.weight_bytes)} of {formats} weights, "
            f"{_size(int(step_bytes))} a decode step, precision {subject.model.precision}"
            + ("" if memory.kv_type == "f16" else f", cache in {memory.kv_type}"),
            f"limits       read {limits.bytes_per_s / 1e9:.1f} GB/s over {_size(self.read_bytes)}, "
            f"float32 multiply-add {limits.flops_per_s / 1e9:.0f} GFLOP/s",
            f"loading      {subject.load_s:.2f} s",
            f"first token  {first.first:.3f} s after a prompt of {first.prompt_tokens} "
            f"({kernels}), {first.second:.3f} s after the next",
            f"peak memory  {_size(subject.peak_rss_bytes)} of the host's, loading and prompts",
        ]

    def table(self) -> "Table":
        """A row a case."""
        from rich import box
        from rich.table import Table

        table = Table(
            box=box.SIMPLE_HEAD,
            caption="medians with their range; the roof is the least time that the bandwidth or "
            "the float32 multiply-adds measured beside a test allow",
            caption_justify="left",
        )
        table.add_column("test")
        for name in ("batch", "depth", "tokens/s", "range", "roof", "share"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("of")
        costs = self.subject.costs
        names = {"bandwidth": "reading", "fma": "arithmetic"}
        for result in self.results:
            table.add_row(
                result.case.name,
                str(result.case.batch),
                str(result.case.depth),
                _rate(result.median),
                f"{_rate(min(result.rates))}-{_rate(max(result.rates))}",
                _rate(result.roof(costs)),
                f"{result.share(costs):.2f}",
                names[result.bound_by(costs)],
            )
        return table


def _rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}" if value >= 1 else f"{value:.3f}"


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB" if nbytes >= 2**28 else f"{nbytes / 2**20:.1f} MiB"
