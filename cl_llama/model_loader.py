"""Brings a model, and perhaps a draft model, from files to a device; once more after it failed."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cl_llama.checkpoints import Checkpoint, open_checkpoint
from cl_llama.draft_files import open_draft
from cl_llama.engine.speculation.speculator import Speculator
from cl_llama.errors import DeviceError, RequestError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.decoder import Decoder
from cl_llama.models.loading import load_model
from cl_llama.models.memory import MemoryPlan
from cl_llama.models.quantization import QUANTIZATIONS
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Runtime
from cl_llama.speculation import make_speculator
from cl_llama.tokenizers import Tokenizer


@dataclass(frozen=True)
class LoadOptions:
    """What `Llama.from_pretrained` is asked for that concerns the device."""

    param_path: str | Path | None
    max_threads: int | None
    max_seq_len: int | None
    cache_tokens: int | None
    precision: Literal["high", "fast"] | None
    kv_type: Literal["f16", "q8_0"]
    quantize: Literal["q8_0", "q4_0", "q4_k"] | None
    use_mmap: bool
    draft: str | Path | None
    speculates: bool
    guesses: int

    def __post_init__(self) -> None:
        """Check what can be checked without the model; raises RequestError."""
        if self.precision not in (None, "high", "fast"):
            raise RequestError(f'precision must be "high" or "fast", got {self.precision!r}')
        if self.kv_type not in ("f16", "q8_0"):
            raise RequestError(f'kv_type must be "f16" or "q8_0", got {self.kv_type!r}')
        if self.quantize not in (None, *QUANTIZATIONS):
            raise RequestError(
                f"quantize must be one of {', '.join(QUANTIZATIONS)}, got {self.quantize!r}"
            )
        if self.max_threads is not None and self.max_threads < 1:
            raise RequestError(f"max_threads must be at least 1, got {self.max_threads}")
        if self.cache_tokens is not None and self.cache_tokens < 1:
            raise RequestError(f"cache_tokens must be at least 1, got {self.cache_tokens}")


class ModelLoader:
    """Owns what is on the device: a runtime and the models that were loaded with it."""

    def __init__(self, path: Path, device: DeviceInfo, options: LoadOptions) -> None:
        """path: the model's, on this machine."""
        self.device = device
        self._path = path
        self._options = options
        self._tokenizer: Tokenizer | None = None
        self._memory: MemoryPlan | None = None
        self._runtime: Runtime | None = None
        self._models: list[Decoder] = []

    def load(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer | None,
        *,
        on_progress: Callable[[float], None] | None = None,
        progress: bool = False,
    ) -> tuple[Decoder, Speculator | None]:
        """The model of an opened checkpoint, and who guesses for it.

        Raises:
            DeviceError: the device cannot be used, or lacks the memory.
            CheckpointError: what the files hold cannot be used.
            TokenizerError: the draft model has another vocabulary.
        """
        options, self._tokenizer = self._options, tokenizer
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
        with ExitStack() as files:
            draft_files = None
            if options.draft is not None:
                draft_files = files.enter_context(
                    open_draft(options.draft, config, tokenizer, progress=progress)
                )
            runtime = self._runtime = Runtime(self.device, options.max_threads)
            draft_memory = None
            if draft_files is not None:
                positions = options.max_seq_len or config.max_seq_len
                draft_memory = draft_files.plan(runtime, positions, options.kv_type)
            max_seq_len, cache_tokens = options.max_seq_len, options.cache_tokens
            if self._memory is not None:  # the cache is to be as large as it was
                max_seq_len = self._memory.text_tokens
                cache_tokens = self._memory.num_blocks * Decoder.block_size
            model = load_model(
                config,
                tensors,
                runtime,
                max_seq_len=max_seq_len,
                cache_tokens=cache_tokens,
                on_progress=on_progress,
                precision=options.precision,
                kv_type=options.kv_type,
                quantize=options.quantize,
                use_mmap=options.use_mmap,
                guesses=options.guesses,
                reserved_bytes=0 if draft_memory is None else draft_memory.total_bytes,
            )
            self._models.append(model)
            self._memory = model.memory
            draft = None
            if draft_files is not None and draft_memory is not None:
                positions = model.num_blocks * model.block_size
                draft = draft_files.load(
                    runtime, draft_memory, positions, use_mmap=options.use_mmap
                )
                self._models.append(draft)
        if not options.speculates:
            return model, None
        return model, make_speculator(model, draft, options.guesses)

    def reload(self) -> tuple[Decoder, Speculator | None]:
        """Give up what is on the device and load the same again, with as large a cache.

        Raises as `load` does.
        """
        with suppress(DeviceError):  # the queue of a device that has failed
            self.close()
        with open_checkpoint(self._path, param_path=self._options.param_path) as checkpoint:
            return self.load(checkpoint, self._tokenizer)

    def close(self) -> None:
        """Wait for the device and give its memory back; more calls do nothing."""
        runtime, self._runtime = self._runtime, None
        try:
            if runtime is not None:
                runtime.close()
        finally:
            for model in self._models:
                model.release()
            self._models.clear()
