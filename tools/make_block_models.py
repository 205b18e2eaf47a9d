"""Writes a small GGUF model of random weights for each block format, at a fixed seed.

    python tools/make_block_models.py /tmp/block-models

Every matrix of such a model is in the one format. Formats that can be made hold normal values;
the bytes of the others are random but for the scales, which give values of the same size. Each
file has about 0.6 MB or less; the text of such a model is noise, it has no tokenizer.
"""

import argparse
import sys
import zlib
from pathlib import Path

import numpy as np

from cl_llama.blocks import FORMATS, QUANTIZABLE, dequantize, quantize
from cl_llama.blocks.layouts import LAYOUTS
from cl_llama.checkpoints.gguf_writer import GgufTensor, write_gguf

D, F, V, LAYERS, HEADS, KV_HEADS = 256, 512, 96, 2, 4, 2
_DEVIATION = 0.04


def write_block_model(path: Path, form: str) -> None:
    """Write the model whose matrices are in a format."""
    rng = np.random.default_rng(zlib.crc32(form.encode()))
    kv = D // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (V, D), "output_norm": (D,)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_norm": (D,),
            f"blk.{i}.attn_q": (D, D),
            f"blk.{i}.attn_k": (kv, D),
            f"blk.{i}.attn_v": (kv, D),
            f"blk.{i}.attn_output": (D, D),
            f"blk.{i}.ffn_norm": (D,),
            f"blk.{i}.ffn_gate": (F, D),
            f"blk.{i}.ffn_up": (F, D),
            f"blk.{i}.ffn_down": (D, F),
        }
    tensors = [_tensor(name, shape, form, rng) for name, shape in shapes.items()]
    metadata = {
        "general.architecture": "llama",
        "llama.context_length": 128,
        "llama.embedding_length": D,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": F,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "none",
    }
    with path.open("wb") as file:
        write_gguf(file, metadata, tensors)


def random_blocks(form: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Blocks [rows, row bytes] of values of about the deviation of a model's weights."""
    if form in QUANTIZABLE:
        return quantize(form, rng.standard_normal(shape, np.float32) * np.float32(_DEVIATION))
    rows, columns = shape
    data = rng.integers(0, 256, (rows, FORMATS[form].row_bytes(columns)), np.uint8)
    blocks = data.reshape(-1).view(LAYOUTS[form])
    blocks["d"] = 1.0
    if "dmin" in blocks.dtype.names:
        blocks["dmin"] = 1.5  # takes as much away as q adds on average: q2_k's q is 0 to 3
    scale = _DEVIATION / np.std(dequantize(form, data))
    for field in {"d", "dmin"} & set(blocks.dtype.names):
        blocks[field] *= scale
    return data


def _tensor(name: str, shape: tuple[int, ...], form: str, rng: np.random.Generator) -> GgufTensor:
    if len(shape) == 1:
        form = "f32"
        values = 1 + np.float32(0.1) * rng.standard_normal(shape, np.float32)
    else:
        values = random_blocks(form, shape, rng)
    return GgufTensor(f"{name}.weight", shape, form, values.nbytes, lambda: iter([values]))


def main(argv: list[str] | None = None) -> int:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    for form in FORMATS:
        write_block_model(args.folder / f"{form}.gguf", form)
    return 0


if __name__ == "__main__":
    sys.exit(main())
