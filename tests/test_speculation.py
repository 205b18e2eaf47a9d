"""Texts with guesses on a device are the texts without."""

import pytest

from cl_llama.demo import model_path
from cl_llama.errors import RequestError
from cl_llama.llm import Llama, SamplingParams

GREEDY = SamplingParams(max_new_tokens=200, temperature=0.0)
STORY = "Once upon a time there was a dog. The dog had a red ball. One day the dog lost the ball."

embedded = pytest.mark.skipif(
    not (model_path() / "model.safetensors").exists(), reason="no embedded model"
)


@embedded
def test_stories_with_lookup(device_infos):
    if not device_infos:
        pytest.skip("no OpenCL device")
    device = device_infos[0].index
    params = [GREEDY, SamplingParams(max_new_tokens=120, seed=3, repetition_penalty=1.1)]
    prompts = ["Once upon a time", STORY]
    with Llama.from_pretrained(device=device) as llm:
        expected = [llm.generate(prompts, p) for p in params]
    with Llama.from_pretrained(device=device, speculate="lookup") as llm:
        completions = [llm.generate(prompts, p) for p in params]
        alone = llm.generate(STORY, GREEDY)
    for texts, others in zip(completions, expected, strict=True):
        for text, other in zip(texts, others, strict=True):
            assert text.token_ids == other.token_ids
            assert text.text == other.text
    assert alone.text == expected[0][1].text
    assert 0 < alone.stats.accepted_draft_tokens <= alone.stats.draft_tokens


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speculate": "magic"}, "speculate must be"),
        ({"draft_tokens": 4}, "draft_tokens goes with speculate"),
        ({"speculate": "lookup", "draft_tokens": 0}, "draft_tokens must be from 1 to 64, got 0"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], message: str):
    with pytest.raises(RequestError, match=message):
        Llama.from_pretrained(**options)
