"""Writes a model as one GGUF file."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from cl_llama.checkpoints.gguf_writer import GgufTensor, Value, write_gguf
from cl_llama.checkpoints.tensor_views import Stacked
from cl_llama.convert.gguf_metadata import frequency_factors, model_metadata
from cl_llama.convert.values import Conversion, rotary_order
from cl_llama.convert.whole_file import whole_file
from cl_llama.models.gguf_config import PAIRINGS
from cl_llama.models.gpt2_weights import Gpt2Tensors, named_gpt2_parts
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.quantization import choose_formats
from cl_llama.models.weights import ModelTensors, named_parts


def write_gguf_model(
    config: ModelConfig,
    tensors: ModelTensors,
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
    pairing = PAIRINGS.get(str(metadata["general.architecture"]), "half")
    formats = choose_formats(tensors, quantize)
    if isinstance(tensors, Gpt2Tensors):
        parts = named_gpt2_parts(tensors)
    else:
        parts = named_parts(config, tensors, "gguf")
    written = []
    for part, name, tensor in parts:
        # Of stacked matrices, the last ones' format: values are more sensitive than the others.
        chosen = tensor.sources[-1] if isinstance(tensor, Stacked) else tensor
        conversion = Conversion(
            tensor, formats.get(chosen.name, "f32"), *rotary_order(config, part, pairing)
        )
        written.append(
            GgufTensor(name, tensor.shape, conversion.format, conversion.nbytes, conversion.pieces)
        )
    for name, factors in frequency_factors(config).items():
        pieces = partial(iter, [factors])
        written.append(GgufTensor(name, factors.shape, "f32", factors.nbytes, pieces))
    total = sum(tensor.nbytes for tensor in written)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done / total)

    with whole_file(target) as file:
        write_gguf(file, metadata, written, on_bytes)
