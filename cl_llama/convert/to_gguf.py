"""Writes a model as one GGUF file."""

from collections.abc import Callable
from pathlib import Path

from cl_llama.checkpoints.gguf_writer import GgufTensor, Value, write_gguf
from cl_llama.convert.gguf_metadata import (
    frequency_factors,
    gguf_architecture,
    gguf_pairing,
    model_metadata,
)
from cl_llama.convert.values import Conversion, rotary_order
from cl_llama.convert.whole_file import whole_file
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.quantization import choose_formats
from cl_llama.models.weights import LlamaTensors, named_parts


def write_gguf_model(
    config: ModelConfig,
    tensors: LlamaTensors,
    source: Path,
    target: Path,
    *,
    quantize: str | None = None,
    token_entries: dict[str, Value] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Write a model; the file takes its place when it is whole.

    source: where the model comes from; it is named in errors and gives the model its name.
    quantize: one of QUANTIZATIONS; None: matrices are float16. Vectors are float32.
    token_entries: the vocabulary's metadata; None: the file has no tokenizer.
    on_progress: called with the share that is written, 0 to 1.

    Raises ConfigError for what GGUF cannot express, CheckpointError for values that the format
    cannot hold, OSError where the file cannot be written.
    """
    metadata = model_metadata(config, source, quantize)
    metadata |= {"tokenizer.ggml.model": "none"} if token_entries is None else token_entries
    pairing = gguf_pairing(gguf_architecture(config, source))
    formats = choose_formats(tensors, quantize)
    written = []
    for part, name, tensor in named_parts(tensors, "gguf"):
        conversion = Conversion(
            tensor, formats.get(tensor.name, "f32"), *rotary_order(config, part, pairing)
        )
        written.append(
            GgufTensor(name, tensor.shape, conversion.format, conversion.nbytes, conversion.pieces)
        )
    factors = frequency_factors(config)
    if factors is not None:
        written.append(
            GgufTensor(
                "rope_freqs.weight", factors.shape, "f32", factors.nbytes, lambda: iter([factors])
            )
        )
    total = sum(tensor.nbytes for tensor in written)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done / total)

    with whole_file(target) as file:
        write_gguf(file, metadata, written, on_bytes)
