"""Writes a model as a Hugging Face folder: config.json, model.safetensors, its tokenizer."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cl_llama.checkpoints.adjusted import adjusted
from cl_llama.convert.hf_config import hf_config
from cl_llama.convert.values import Conversion, rotary_order
from cl_llama.convert.whole_file import whole_folder
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.weights import LlamaTensors, named_parts

_DTYPES = {"f16": "F16", "f32": "F32"}


def write_hf_model(
    config: ModelConfig,
    tensors: LlamaTensors,
    source: Path,
    target: Path,
    *,
    bos_id: int | None,
    eos_ids: tuple[int, ...],
    other_files: Mapping[str, bytes],
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Write a folder, which takes its place when it is whole; matrices are float16, vectors f32.

    source: where the model comes from; it is named in errors. other_files: what else belongs into
    the folder, by name. on_progress: called with the share of the weights that is written.

    Raises ConfigError for what config.json cannot express, CheckpointError for values that f16
    cannot hold, OSError where the files cannot be written.
    """
    entries = hf_config(config, source, bos_id, eos_ids)
    shift = -1.0 if "hidden_activation" in entries else 0.0  # Gemma's classes add 1 to norms
    conversions = {
        name: Conversion(
            adjusted(tensor, shift=shift) if "norm" in part else tensor,
            "f16" if len(tensor.shape) == 2 else "f32",
            *rotary_order(config, part, "half"),
        )
        for part, name, tensor in named_parts(config, tensors, "hf")
    }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    total = 0
    for name, conversion in conversions.items():
        header[name] = {
            "dtype": _DTYPES[conversion.format],
            "shape": list(conversion.source.shape),
            "data_offsets": [total, total + conversion.nbytes],
        }
        total += conversion.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)
    with whole_folder(target) as folder:
        for name, content in other_files.items():
            (folder / name).write_bytes(content)
        done = 0
        with (folder / "model.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for conversion in conversions.values():
                for piece in conversion.pieces():
                    file.write(np.ascontiguousarray(piece).data)
                    done += piece.nbytes
                    if on_progress is not None:
                        on_progress(done / total)
        (folder / "config.json").write_text(json.dumps(entries, indent=2) + "\n")
