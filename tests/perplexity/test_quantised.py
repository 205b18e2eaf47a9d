"""What quantised weights cost in perplexity, on stories that no model was trained on."""

import numpy as np
import pytest

from cl_llama.llm import Llama
from cl_llama.perplexity import cut_windows, measure
from tools.demo_stories.corpus import held_out_texts

STORIES = 12


def perplexities(**options):
    """By the format of the weights."""
    found = {}
    text = "\n".join(held_out_texts(STORIES))
    for quantize in (None, "q8_0", "q4_0"):
        with Llama.from_pretrained(quantize=quantize, **options) as llm:
            ids = np.array(llm.tokenizer.encode(text), np.int32)
            windows = cut_windows(ids, 128, bos_id=llm.tokenizer.bos_id)
            found[quantize] = measure(llm.engine, windows, lambda _: None).value
    return found


def check(found):
    assert found["q8_0"] == pytest.approx(found[None], rel=0.005)
    assert found["q4_0"] < 1.15 * found[None]
    assert found["q4_0"] > 1.005 * found[None]  # or nothing was quantised


def test_embedded_model(device_infos):
    if not device_infos:
        pytest.skip("no OpenCL device")
    found = perplexities(device=device_infos[0].index, path_or_repo_id=None)
    assert 2 < found[None] < 5
    check(found)


def test_stories260k(device_infos, shared_data):
    if not device_infos:
        pytest.skip("no OpenCL device")
    found = perplexities(
        device=device_infos[0].index,
        path_or_repo_id=shared_data("stories260K.bin"),
        tokenizer_path=shared_data("tok512.model"),
        max_seq_len=512,
    )
    assert 10 < found[None] < 20
    check(found)
