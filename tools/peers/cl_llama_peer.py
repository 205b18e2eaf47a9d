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
    """The folder's checkpoint, or its GGUF file in a format, on one device."""

    def __init__(self, settings: dict[str, Any]) -> None:
        positions = settings["longest"] + EXTRA_TOKENS
        how = Settings(
            device=settings.get("device"),
            precision=settings.get("precision"),
            max_threads=settings["threads"],
            matrix_units=settings.get("matrix_units", True),
        )
        path, form = settings["folder"], settings.get("quantize")
        if form is not None:
            path = f"{path}/model-{form}.gguf"
        subject = load_subject(path, how, positions, positions, 1, ExitStack())
        self._model = subject.model
        runtime = subject.runtime
        unit = f", {runtime.matrix_unit}" if runtime.matrix_unit else ""
        formats = " and ".join(subject.format_bytes)
        self.description = (
            f"{runtime.device.platform}, {formats}, precision {subject.model.precision}{unit}"
        )

    def prefill(self, tokens: int) -> float:
        """Seconds from a new prompt to its first token."""
        return prefill_seconds(self._model, tokens, 0)

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of greedy steps after `depth` tokens."""
        return sum(decode_seconds(self._model, 1, depth, tokens))


if __name__ == "__main__":
    serve(ClLlama)
