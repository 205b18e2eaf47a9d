"""Models written as Hugging Face folders: read back, they say what the original says."""

from dataclasses import replace

import numpy as np
import pytest

from cl_llama import Llama, SamplingParams
from cl_llama.checkpoints import open_checkpoint
from cl_llama.checkpoints.gguf_writer import write_gguf
from cl_llama.convert.hf_tokenizer import tokenizer_files
from cl_llama.convert.model import convert_model
from cl_llama.convert.token_sources import read_tokens
from cl_llama.demo import model_path
from cl_llama.errors import ConfigError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.tokenizers import load_tokenizer
from tests import reference
from tests.convert.test_gguf import logits
from tests.convert.test_tokens import TEXTS
from tests.models.fixture_models import FIXTURES
from tests.tokenizers.small_files import tiktoken_file


@pytest.mark.parametrize("through_gguf", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "llama-biases",
        "llama31-scaled",
        "meta-llama2",
        "mistral-window",
        "qwen2-upper-windows",
        "qwen3-qk-norm",
        "rope-dynamic",
        "rope-linear",
        "rope-yarn",
        "smollm-tied-9-3",
        "gemma2",
        "gemma3",
        "granite",
        "olmo2",
        "phi3",
    ],
)
def test_the_same_logits(tmp_path, name, through_gguf):
    source, target = FIXTURES / name, tmp_path / "model"
    if through_gguf:
        source = tmp_path / "model.gguf"
        try:
            convert_model(FIXTURES / name, source)
        except ConfigError:
            pytest.skip("GGUF has no place for it")
    convert_model(source, target)
    with open_checkpoint(source) as original, open_checkpoint(target) as converted:
        before, after = config_from_checkpoint(original), config_from_checkpoint(converted)
    assert after.rope.pairing == "half" and after.max_seq_len == before.max_seq_len
    assert after.windows == before.windows and after.tied_embeddings == before.tied_embeddings
    np.testing.assert_allclose(reference.relative_rms(logits(target), logits(source)), 0, atol=1e-5)


def test_there_and_back_with_its_tokenizer(tmp_path, device_infos):
    """The same text from a Hugging Face folder, its GGUF file, and a folder of that."""
    if not device_infos:
        pytest.skip("no OpenCL device")
    file, folder = tmp_path / "model.gguf", tmp_path / "model"
    convert_model(model_path(), file)
    convert_model(file, folder)
    texts = []
    for path in (model_path(), file, folder):
        with Llama.from_pretrained(path, device=device_infos[0].index) as llm:
            params = SamplingParams(max_new_tokens=16, temperature=0.0)
            texts.append(llm.generate("Once upon a time", params).text)
    assert texts[0] == texts[1] == texts[2]


def test_a_vocabulary_of_bytes(tmp_path):
    """A tokenizer.json is made of byte-level merges."""
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tiktoken_file())
    before = load_tokenizer(path)
    tokens = read_tokens(before, path)
    with (tmp_path / "model.gguf").open("wb") as file:
        write_gguf(file, tokens.metadata(before.vocab_size), [])
    again = read_tokens(load_tokenizer(tmp_path / "model.gguf"), tmp_path / "model.gguf")
    assert sorted(again.end_ids) == sorted(tokens.end_ids)
    assert replace(again, end_ids=tokens.end_ids) == tokens
    for name, content in tokenizer_files(again, path).items():
        (tmp_path / name).write_bytes(content)
    after = load_tokenizer(tmp_path / "tokenizer.json")
    assert (after.bos_id, after.eos_id, after.adds_bos) == (before.bos_id, before.eos_id, True)
    for text in TEXTS:
        assert after.encode(text, special=True) == before.encode(text, special=True)
