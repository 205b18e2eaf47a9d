"""`cl-llama perplexity`, in this process."""

import json
import re

import numpy as np
import pytest

from cl_llama.llm import Llama


@pytest.fixture
def perplexity(cl_llama, small_model, device_infos):
    if not device_infos:
        pytest.skip("no OpenCL device")
    settings = ["--model-path", small_model, "--opencl-device", device_infos[0].index]
    return lambda *words: cl_llama("perplexity", *settings, *words)


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("Once upon a time there was a model that had learned nothing.\n" * 9)
    return file


def test_the_figures(perplexity, text, small_model):
    ended = perplexity("--file", text, "--ctx-size", 32, "--json")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["window_tokens"] == 32
    assert found["predicted_tokens"] == 15 * found["windows"]
    with Llama.from_pretrained(small_model, device=found["device"]["index"]) as llm:
        ids = llm.tokenizer.encode(text.read_text().removesuffix("\n"))
        nll = []
        for start in range(0, len(ids) - 31, 32):
            window = [llm.tokenizer.bos_id, *ids[start + 1 : start + 32]]
            rows = llm.logits(window).astype(np.float64)
            rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
            nll += [-rows[i - 1, window[i]] for i in range(17, 32)]
    assert len(nll) == found["predicted_tokens"]
    assert found["perplexity"] == pytest.approx(np.exp(np.mean(nll)), rel=1e-3)
    error = np.std(nll, ddof=1) / np.sqrt(len(nll)) * found["perplexity"]
    assert found["perplexity_error"] == pytest.approx(error, rel=1e-3)
    shown = perplexity("--file", text, "-c", 32)
    shown_figures = re.match(r"perplexity: +(\S+) ± (\S+)\n180 tokens in 12 windows", shown.out)
    assert float(shown_figures[1]) == pytest.approx(found["perplexity"], rel=1e-4)
    assert float(shown_figures[2]) == pytest.approx(found["perplexity_error"], rel=1e-2)
    few = json.loads(perplexity("--file", text, "-c", 32, "--chunks", 2, "--json").out)
    assert (few["windows"], few["predicted_tokens"]) == (2, 30)
    strided = json.loads(perplexity("--file", text, "-c", 32, "--stride", 8, "--json").out)
    assert strided["window_tokens"] == 36
    assert strided["predicted_tokens"] == 8 * strided["windows"]


def test_number_formats_reach_the_model(perplexity, text):
    def value(*words):
        return json.loads(perplexity("--file", text, "-c", 32, "--json", *words).out)["perplexity"]

    plain, quantised = value(), value("--quantize", "q4_0")
    both = value("--quantize", "q4_0", "--kv-type", "q8_0")
    assert len({plain, quantised, both, value("--kv-type", "q8_0")}) == 4
    assert both == pytest.approx(plain, rel=0.3)


def test_a_model_beside_itself(perplexity, text, tmp_path):
    base = tmp_path / "base"
    written = json.loads(
        perplexity("--file", text, "-c", 32, "--kl-base", base, "--chunks", 3, "--json").out
    )
    ended = perplexity("--kl-base", base, "--kl-divergence", "--json")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["windows"] == 3
    assert found["perplexity"] == pytest.approx(written["perplexity"], rel=1e-6)
    assert abs(found["kl_divergence"]) < 1e-6
    assert found["top_1_agreement"] == 1.0
    assert "top 1 agreement:" in perplexity("--kl-base", base, "--kl-divergence").out
    again = perplexity("--file", text, "--kl-base", base)
    assert (again.status, again.out) == (1, "")
    assert "is there already; add --kl-divergence" in again.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--file FILE is missing"),
        (["--kl-divergence"], "goes with --kl-base"),
        (["--kl-divergence", "--kl-base", "a", "--file", "b"], "are in --kl-base's file"),
        (["--kl-base", "a", "--file", "b", "--stride", 4], "for windows without --stride"),
        (["--file", "missing"], "missing: No such file"),
        (["--kl-base", "missing", "--kl-divergence"], "missing: cannot be read"),
    ],
)
def test_what_cannot_be(perplexity, words, message):
    ended = perplexity(*words)
    assert (ended.status, ended.out) == (1, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_a_text_that_is_too_short(perplexity, text):
    ended = perplexity("--file", text, "-c", 5000)
    assert (ended.status, ended.out) == (1, "")
    assert "a window takes 5000" in ended.err
