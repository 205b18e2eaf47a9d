"""Exports a Hugging Face folder to OpenVINO with f16 weights, by optimum-intel, then to fewer bits.

    python tools/peers/export_openvino.py FOLDER [int8 int4 ...]

Writes FOLDER/openvino and, from it, FOLDER/openvino-int8 and so on, in what `optimum-cli export
openvino --weight-format` does by default: int8 with a scale and a zero point for every row; int4
with these for every 128 weights, but int8 for the embedding and the output. A tokenizer of made-up
words goes with it, since the pipeline wants one.
"""

import json
import shutil
import sys
from pathlib import Path

from optimum.exporters.openvino import main_export
from optimum.intel import OVConfig, OVModelForCausalLM, OVWeightQuantizationConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_COMPRESSED = {
    "int8": OVWeightQuantizationConfig(bits=8, sym=False),
    "int4": OVWeightQuantizationConfig(bits=4, sym=False, group_size=128, ratio=1.0),
}


def main(folder: Path, *weights: str) -> None:
    """Export what is not there yet."""
    plain = folder / "openvino"
    if not plain.is_dir():
        _export(folder, plain)
    for name in weights:
        target = folder / f"openvino-{name}"
        if not target.is_dir():
            _compress(plain, target, _COMPRESSED[name])


def _export(folder: Path, target: Path) -> None:
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    if not (folder / "tokenizer.json").exists():
        words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"t{i}": i for i in range(3, vocab_size)}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
        ).save_pretrained(folder)
    unfinished = target.with_suffix(".tmp")
    main_export(
        str(folder),
        unfinished,
        task="text-generation-with-past",
        library_name="transformers",
        ov_config=OVConfig(dtype="fp16"),  # else weights are compressed to 8 bits
        convert_tokenizer=True,
    )
    unfinished.rename(target)


def _compress(plain: Path, target: Path, how: OVWeightQuantizationConfig) -> None:
    unfinished = target.with_suffix(".tmp")
    model = OVModelForCausalLM.from_pretrained(plain, compile=False, quantization_config=how)
    model.save_pretrained(unfinished)
    for file in plain.iterdir():  # the tokenizer's, too
        if not (unfinished / file.name).exists():
            shutil.copy(file, unfinished)
    unfinished.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
