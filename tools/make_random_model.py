"""Writes a Hugging Face folder of a named shape with random f16 weights, to try a device's speed.

    python tools/make_random_model.py 1.1b /tmp/llama-1.1b

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

SHAPES = {
    "1.1b": {
        "hidden_size": 2048,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "intermediate_size": 5632,
        "vocab_size": 32000,
    },
    "3b": {
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 32000,
    },
    "7b": {
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
    },
}
_PIECE = 1 << 22  # values made at a time


def tensor_shapes(config: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors, in file order."""
    D, F, V = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = D // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, D)}
    for i in range(config["num_hidden_layers"]):
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
    return shapes | {"model.norm.weight": (D,), "lm_head.weight": (V, D)}


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
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **SHAPES[args.shape],
        "max_position_embeddings": args.max_seq_len,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float16",
    }
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
