"""Exports a Hugging Face folder to OpenVINO with f16 weights, by optimum-intel.

    python tools/peers/export_openvino.py FOLDER

Writes FOLDER/openvino. A tokenizer of made-up words goes with it, since the pipeline wants one.
"""

import json
import sys
from pathlib import Path

from optimum.exporters.openvino import main_export
from optimum.intel import OVConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def main(folder: Path) -> None:
    """Export what is not there yet."""
    if (folder / "openvino").is_dir():
        return
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    if not (folder / "tokenizer.json").exists():
        words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"t{i}": i for i in range(3, vocab_size)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
        ).save_pretrained(folder)
    unfinished = folder / "openvino.tmp"
    main_export(
        str(folder),
        unfinished,
        task="text-generation-with-past",
        library_name="transformers",
        ov_config=OVConfig(dtype="fp16"),  # else weights are compressed to 8 bits
        convert_tokenizer=True,
    )
    unfinished.rename(folder / "openvino")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
