"""OpenVINO GenAI's LLMPipeline over a model that `export_openvino.py` makes.

Every prompt is a new one: a second run of one is a hit of the pipeline's prefix cache.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai
from openvino import Tensor
from protocol import prompts, serve


class OpenVino:
    """A pipeline on the CPU, in one precision."""

    def __init__(self, settings: dict[str, Any]) -> None:
        weights = settings.get("weights", "")
        folder = Path(settings["folder"]) / f"openvino-{weights}".rstrip("-")
        if not folder.is_dir():
            command = f"export_openvino.py {folder.parent} {weights}".rstrip()
            raise FileNotFoundError(f"{folder} is missing; run {command}")
        self._pipeline = openvino_genai.LLMPipeline(
            str(folder),
            "CPU",
            INFERENCE_PRECISION_HINT=settings["hint"],
            INFERENCE_NUM_THREADS=settings["threads"],
        )
        self._prompt = prompts(settings["vocab_size"])
        self.description = (
            f"openvino-genai {openvino_genai.__version__}, {weights or 'f16'} weights, "
            f"{settings['hint']}"
        )

    def prefill(self, tokens: int) -> float:
        """Seconds from a new prompt to its first token."""
        began, moments = self._generate(tokens, 1)
        return moments[0] - began

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of greedy steps after `depth` tokens."""
        _, moments = self._generate(max(depth, 1), tokens + 1)
        return moments[-1] - moments[0]

    def _generate(self, prompt_tokens: int, new_tokens: int) -> tuple[float, list[float]]:
        """When a greedy generation began, and when each of its tokens came."""
        ids = Tensor(np.array([self._prompt(prompt_tokens)], np.int64))
        mask = Tensor(np.ones((1, prompt_tokens), np.int64))
        moments: list[float] = []

        class Clock(openvino_genai.StreamerBase):
            def write(self, _: Any) -> openvino_genai.StreamingStatus:
                moments.append(time.perf_counter())
                return openvino_genai.StreamingStatus.RUNNING

            def end(self) -> None:
                pass

        began = time.perf_counter()
        self._pipeline.generate(
            openvino_genai.TokenizedInputs(ids, mask),
            streamer=Clock(),
            max_new_tokens=new_tokens,
            ignore_eos=True,
            do_sample=False,
        )
        if len(moments) != new_tokens:
            raise RuntimeError(f"{len(moments)} tokens came, {new_tokens} were asked for")
        return began, moments


if __name__ == "__main__":
    serve(OpenVino)
