"""A checkpoint: a model's configuration, its named tensors and the files they are mapped from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from cl_llama.checkpoints.mapped_file import MappedFile
from cl_llama.checkpoints.tensor import HostTensor


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint; a context manager that unmaps its files at the end.

    `format` says whose tensor names and rotary layout it has: "hf" (Hugging Face), "gguf", "meta"
    or "llama2c" (both with Meta's names). `config` is config.json, GGUF's metadata, params.json
    or, for llama2.c, the header under Meta's names with `tied` added; `generation_config` is empty
    if there is none. `tokenizer_path` is the tokenizer found beside the model, or in it, if any.
    """

    path: Path
    format: Literal["hf", "gguf", "meta", "llama2c"]
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]
    tensors: Mapping[str, HostTensor]
    tokenizer_path: Path | None
    files: tuple[MappedFile, ...]

    def close(self) -> None:
        """Unmap the files; reading a tensor afterwards raises CheckpointError."""
        for file in self.files:
            file.close()

    def __enter__(self) -> Self:
        """The checkpoint itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the checkpoint."""
        self.close()
