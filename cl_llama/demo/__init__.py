"""The embedded model: a two-million-weight Llama that tells small stories.

Hugging Face layout (config.json, generation_config.json, model.safetensors in float16, its own
SentencePiece tokenizer.model). ``tools/train_demo.py`` trained it on stories that a grammar in
``tools/demo_stories`` wrote; no other text went into it. It shows that an installation works, on a
machine that has nothing else: it knows nothing but the world of these stories.
"""

from importlib.resources import files
from pathlib import Path


def model_path() -> Path:
    """Folder of the embedded model's files."""
    return Path(str(files(__name__)))
