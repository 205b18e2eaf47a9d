"""Texts with guesses on a device are the texts without."""

from pathlib import Path

import pytest

from cl_llama import speculation
from cl_llama.convert.model import convert_model
from cl_llama.demo import model_path
from cl_llama.draft_files import check_vocabularies
from cl_llama.errors import DeviceMemoryError, RequestError, TokenizerError
from cl_llama.llm import Llama, SamplingParams
from cl_llama.tokenizers import load_tokenizer
from tests.paged_model import config
from tests.small_model import write_small_model

GREEDY = SamplingParams(max_new_tokens=200, temperature=0.0)
STORY = "Once upon a time there was a dog. The dog had a red ball. One day the dog lost the ball."

embedded = pytest.mark.skipif(
    not (model_path() / "model.safetensors").exists(), reason="no embedded model"
)


@pytest.fixture(scope="module")
def quantised(tmp_path_factory) -> Path:
    """The embedded model, as coarse as a draft may be."""
    path = tmp_path_factory.mktemp("draft") / "coarse.gguf"
    convert_model(model_path(), path, quantize="q4_0")
    return path


@embedded
def test_stories(device_infos, quantised, monkeypatch):
    if not device_infos:
        pytest.skip("no OpenCL device")
    # As beside a larger model: so small a one gains nothing.
    monkeypatch.setattr(speculation, "draft_cost", lambda draft, model: 0.02)
    device = device_infos[0].index
    params = [GREEDY, SamplingParams(max_new_tokens=120, seed=3, repetition_penalty=1.1)]
    prompts = ["Once upon a time", STORY]
    with Llama.from_pretrained(device=device) as llm:
        expected = [llm.generate(prompts, p) for p in params]
    for guessing in ({"speculate": "lookup"}, {"draft": quantised}):
        with Llama.from_pretrained(device=device, **guessing) as llm:
            completions = [llm.generate(prompts, p) for p in params]
            alone = llm.generate(STORY, GREEDY)
        for texts, others in zip(completions, expected, strict=True):
            for text, other in zip(texts, others, strict=True):
                assert text.token_ids == other.token_ids
                assert text.text == other.text
        assert alone.text == expected[0][1].text
        assert 0 < alone.stats.accepted_draft_tokens <= alone.stats.draft_tokens
    assert alone.stats.accepted_draft_tokens > 0.6 * alone.stats.draft_tokens > 40


def test_a_draft_model_of_another_vocabulary(shared_data, tmp_path):
    with pytest.raises(TokenizerError, match=r"draft model .*: its tokenizer has 32000 tokens"):
        Llama.from_pretrained(
            write_small_model(tmp_path), draft=shared_data("gguf/llama-2-tiny-random.gguf")
        )


@embedded
def test_both_models_must_fit(device_infos, quantised, monkeypatch):
    cpus = [info.index for info in device_infos if info.is_cpu]
    if not cpus:
        pytest.skip("no CPU device: others' memory is what it is")
    with Llama.from_pretrained(device=cpus[0], max_seq_len=64) as llm:
        alone = int(llm.engine.model.memory.total_bytes / 0.95) + 1000
    monkeypatch.setattr("cl_llama.models.memory.available_host_memory_bytes", lambda: alone)
    with pytest.raises(DeviceMemoryError, match="beside the draft model's"):
        Llama.from_pretrained(device=cpus[0], max_seq_len=64, draft=quantised)
    Llama.from_pretrained(device=cpus[0], max_seq_len=64).close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speculate": "magic"}, "speculate must be"),
        ({"speculate": "draft"}, "goes with draft"),
        ({"speculate": "lookup", "draft": "some/model"}, 'draft goes with speculate="draft"'),
        ({"draft_tokens": 4}, "draft_tokens goes with speculate or draft"),
        ({"speculate": "lookup", "draft_tokens": 0}, "draft_tokens must be from 1 to 64, got 0"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], message: str):
    with pytest.raises(RequestError, match=message):
        Llama.from_pretrained(**options)


def test_vocabularies_of_two_tokenizers(shared_data):
    llama2 = load_tokenizer(shared_data("llama2_tokenizer.model"))
    in_gguf = load_tokenizer(shared_data("gguf/ggml-vocab-llama-spm.gguf"))
    chat = load_tokenizer(shared_data("tinyllama-chat/tokenizer.json"))
    sizes = config(vocab_size=32000), config(vocab_size=32064)
    for other in (in_gguf, chat):
        check_vocabularies("small", sizes[0], llama2, sizes[1], other)
    message = r"draft model small: it knows 32064 tokens, the model 32000; a draft model needs"
    with pytest.raises(TokenizerError, match=message):
        check_vocabularies("small", sizes[0], llama2, sizes[1], None)

    class Swapped(type(llama2)):
        """Two words in each other's places."""

        def token_bytes(self, token_id: int) -> bytes:
            return super().token_bytes({300: 301, 301: 300}.get(token_id, token_id))

    swapped = Swapped(shared_data("llama2_tokenizer.model").read_bytes(), "swapped")
    with pytest.raises(TokenizerError, match=r"its token 300 is '.+', the model's is '.+'; a"):
        check_vocabularies("small", sizes[0], llama2, sizes[0], swapped)
