"""The embedded model, which has seen no JSON in its life, writes what a schema says."""

import pytest

from cl_llama.demo import model_path
from cl_llama.engine.params import SamplingParams
from cl_llama.llm import Llama
from tests.grammar.test_grammar import BOUNDED, check_bounded


@pytest.mark.skipif(not (model_path() / "model.safetensors").exists(), reason="no embedded model")
def test_it_writes_by_a_schema(device_infos):
    if not device_infos:
        pytest.skip("no OpenCL device")
    settings = [
        {"temperature": 0.0},
        {"seed": 1},
        {"seed": 2, "temperature": 3.0, "top_p": 0.9, "dry_multiplier": 0.8},
        {"seed": 3, "mirostat": 2, "stop_token_ids": ()},
    ]
    with Llama.from_pretrained(device=device_infos[0].index) as llm:
        grammar = llm.grammars.json_schema(BOUNDED)
        for setting in settings:
            params = SamplingParams(max_new_tokens=300, **setting)
            completion = llm.generate("Once upon a time", params, logit_mask=grammar.mask())
            assert completion.finish_reason == "stop"
            check_bounded(completion.text)
