"""Which format each matrix of a model gets, in a file or on a device.

When a model is quantised, as in llama.cpp: errors of the output matrix, and in q4_k of the value
and down matrices of the first and last eighths of the layers and of every third between them, cost
the most, so they get q6_k. Rows that a format's blocks do not fit get the next simpler format.
"""

from collections.abc import Mapping

from cl_llama.blocks import FORMATS
from cl_llama.checkpoints import HostTensor
from cl_llama.models.weights import ModelTensors

QUANTIZATIONS = ("q8_0", "q4_0", "q4_k")
"""What a model can be quantised to."""

_SENSITIVE = ("v", "down")
_SIMPLER = {"q4_k": "q5_0", "q6_k": "q8_0", "q4_0": "f16", "q5_0": "f16", "q8_0": "f16"}


def choose_formats(tensors: ModelTensors, quantize: str | None) -> dict[str, str]:
    """The format of each matrix by the tensor's name: "f16", or a block format's name.

    quantize: one of QUANTIZATIONS; None leaves all in f16.
    """
    chosen = {tensor.name: "f16" for tensor in tensors.matrices()}

    def choose(tensor: HostTensor, wanted: str) -> None:
        form = wanted
        while form in FORMATS and tensor.shape[-1] % FORMATS[form].elements:
            form = _SIMPLER[form]
        chosen[tensor.name] = form

    base = quantize or "f16"
    best = "q6_k" if base in ("q4_0", "q4_k") else base
    choose(tensors.embedding, base)
    choose(tensors.output, best)  # a tied one is chosen for what it costs as the output
    count = len(tensors.layers)
    for i, layer in enumerate(tensors.layers):
        more = best if base == "q4_k" and _costs_more(i, count) else base
        for part, tensor in vars(layer).items():
            if tensor is not None and len(tensor.shape) == 2:
                choose(tensor, more if part in _SENSITIVE else base)
    return chosen


def formats_on_device(
    tensors: ModelTensors, matrices: Mapping[str, HostTensor], quantize: str | None
) -> dict[str, str]:
    """The same when a model is loaded: matrices that files hold in blocks keep these."""
    chosen = choose_formats(tensors, quantize)
    kept = {name: one.format for name, one in matrices.items() if one.format in FORMATS}
    return chosen | kept


def saved_bytes(formats: Mapping[str, str], matrices: Mapping[str, HostTensor]) -> int:
    """How many bytes fewer than in f16 the matrices take."""
    saved = 0
    for name, matrix in matrices.items():
        rows, columns = matrix.shape
        form = FORMATS.get(formats[name])
        saved += 0 if form is None else rows * (2 * columns - form.row_bytes(columns))
    return saved


def _costs_more(layer: int, count: int) -> bool:
    eighth = count // 8
    return layer < eighth or layer >= 7 * count // 8 or (layer - eighth) % 3 == 2
