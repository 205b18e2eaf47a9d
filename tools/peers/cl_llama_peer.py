"""cl-llama itself, as bench_peers.py measures it."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from protocol import serve

from cl_llama.bench.subject import Settings, load_subject
from cl_llama.bench.timing import EXTRA_TOKENS, decode_seconds, prefill_seconds


class ClLlama:
    """The checkpoint in the folder, on one device."""

    def __init__(self, settings: dict[str, Any]) -> None:
        positions = settings["longest"] + EXTRA_TOKENS
        how = Settings(
            device=settings.get("device"),
            precision=settings.get("precision", "high"),
            max_threads=settings["threads"],
            matrix_units=settings.get("matrix_units", True),
        )
        subject = load_subject(settings["folder"], how, positions, positions, 1, ExitStack())
        self._model = subject.model
        runtime = subject.runtime
        unit = f", {runtime.matrix_unit}" if runtime.matrix_unit else ""
        self.description = f"{runtime.device.platform}, precision {how.precision}{unit}"

    def prefill(self, tokens: int) -> float:
        """Seconds from a new prompt to its first token."""
        return prefill_seconds(self._model, tokens, 0)

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of greedy steps after `depth` tokens."""
        return sum(decode_seconds(self._model, 1, depth, tokens))


if __name__ == "__main__":
    serve(ClLlama)
