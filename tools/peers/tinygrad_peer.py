"""tinygrad's own `tinygrad.llm` over the GGUF file of `write_gguf.py`, on OpenCL through PoCL.

tinygrad takes the first OpenCL platform, so the loader gets to see PoCL's driver alone. A prompt's
pass compiles for minutes and is left out.
"""

import importlib.metadata
import os
import shutil
import time
from pathlib import Path
from typing import Any

from protocol import prompts, serve
from write_gguf import gguf_file

_VENDORS = Path("/etc/OpenCL/vendors")


class Tinygrad:
    """The packaged transformer with its weights on the device."""

    def __init__(self, settings: dict[str, Any]) -> None:
        _show_pocl_alone(Path(settings["folder"]) / "icd")
        os.environ["DEV"] = "CL"
        os.environ["POCL_MAX_PTHREAD_COUNT"] = str(settings["threads"])
        from tinygrad.llm.model import Transformer

        path = gguf_file(settings["folder"])
        self._model, _ = Transformer.from_gguf(path, settings["longest"] + 32, realize=True)
        self._prompt = prompts(settings["vocab_size"])
        self.description = f"tinygrad {importlib.metadata.version('tinygrad')}, OpenCL on PoCL"

    def prefill(self, tokens: int) -> float:
        """Seconds from a new prompt to its first token."""
        raise NotImplementedError("a prompt's pass compiles for minutes")

    def decode(self, tokens: int, depth: int) -> float:
        """Seconds of greedy steps after `depth` tokens."""
        generated = self._model.generate(self._prompt(max(depth, 1)))
        for _ in range(3):  # the first tokens compile
            next(generated)
        began = time.perf_counter()
        for _ in range(tokens):
            next(generated)
        return time.perf_counter() - began


def _show_pocl_alone(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    drivers = list(_VENDORS.glob("pocl*.icd"))
    if not drivers:
        raise FileNotFoundError(f"{_VENDORS} has no pocl.icd; apt install pocl-opencl-icd")
    shutil.copy(drivers[0], folder / "pocl.icd")
    os.environ["OCL_ICD_VENDORS"] = str(folder)


if __name__ == "__main__":
    serve(Tinygrad)
