"""Writes a Hugging Face folder of a named shape with random f16 weights, to try a device's speed.

    python tools/make_random_model.py 1b /tmp/llama-1b

The text such a model writes is noise; its speed is that of a trained model of the same shape.
Weights are normal with a deviation of 0.02, at a fixed seed.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from rich.progress import Progress

from cl_llama.bench.shapes import SHAPES, Shape

_PIECE = 1 << 22  # values made at a time


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors, in file order."""
    D, F, V = shape.hidden_size, shape.intermediate_size, shape.vocab_size
    kv = shape.head_dim * shape.num_key_value_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, D)}
    for i in range(shape.num_hidden_layers):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (D,),
            f"{layer}.self_attn.q_proj.weight": (D, D),
            f"{layer}.self_attn.k_proj.weight": (kv, D),
            f"{layer}.self_attn.v_proj.weight": (kv, D),
            f"{layer}.self_attn.o_proj.weight": (D, D),
            f"{layer}.post_attention_layernorm.weight": (D,),
            f"{layer}.mlp.gate_proj.weight": (F, D),
            f"{layer}.mlp.up_proj.weight": (F, D),
            f"{layer}.mlp.down_proj.weight": (D, F),
        }
    shapes["model.norm.weight"] = (D,)
    return shapes if shape.tie_word_embeddings else shapes | {"lm_head.weight": (V, D)}


def main(argv: list[str] | None = None) -> int:
    """Write config.json and model.safetensors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--max-seq-len", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.folder.exists():
        parser.error(f"{args.folder} exists already")
    args.folder.mkdir(parents=True)
    config = SHAPES[args.shape].hf_config(args.max_seq_len)
    (args.folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shapes = tensor_shapes(SHAPES[args.shape])
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    rng = np.random.default_rng(args.seed)
    with (args.folder / "model.safetensors").open("wb") as file, Progress() as progress:
        task = progress.add_task("writing", total=offset)
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            left = math.prod(shape)
            while left:
                count = min(left, _PIECE)
                values = rng.standard_normal(count, np.float32) * np.float32(0.02)
                if len(shape) == 1:
                    values += np.float32(1.0)
                file.write(values.astype(np.float16).tobytes())
                progress.advance(task, 2 * count)
                left -= count
    return 0


if __name__ == "__main__":
    sys.exit(main())
