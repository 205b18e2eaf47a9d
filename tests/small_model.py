"""A model of random weights with a tokenizer beside it, that speaks text."""

from pathlib import Path

from tests.checkpoints.checkpoint_files import llama2c_bytes, meta_tensors
from tests.tokenizers.small_files import sentencepiece_model

CONFIG = {
    "dim": 64,
    "hidden_dim": 96,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 360,
    "max_seq_len": 128,
}


def write_small_model(folder: Path, **changes: int) -> Path:
    config = CONFIG | changes
    (folder / "tok360.model").write_bytes(sentencepiece_model())
    path = folder / "model.bin"
    path.write_bytes(llama2c_bytes(meta_tensors(config), config=config))
    return path
