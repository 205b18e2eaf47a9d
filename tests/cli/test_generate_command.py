"""`cl-llama` without a command, in this process: what each option does."""

import io
import json
import sys
from pathlib import Path

import pytest

from cl_llama.cli.parser import parse
from cl_llama.cli.sampling_options import sampling_params
from cl_llama.demo import model_path
from cl_llama.errors import KernelBuildError
from cl_llama.llm import Llama, SamplingParams
from cl_llama.opencl.devices import DeviceInfo


@pytest.fixture(scope="module")
def llm(small_model, device_infos):
    if not device_infos:
        pytest.skip("no OpenCL device")
    with Llama.from_pretrained(small_model, device=device_infos[0].index) as llm:
        yield llm


def greedy(count: int = 8, **settings) -> SamplingParams:
    return SamplingParams(max_new_tokens=count, temperature=0.0, **settings)


def test_the_text_of_stories260k(device: DeviceInfo, shared_data, cl_llama):
    expected = shared_data("stories260K.greedy200.txt").read_text()
    ended = cl_llama(
        "--model-path",
        shared_data("stories260K.bin"),
        "--tokenizer-path",
        shared_data("tok512.model"),
        *("--temperature", 0, "--prompt", "", "--max-new-tokens", 200),
        *("--opencl-device", device.index),
    )
    assert ended == (0, f"{expected}\n", "")


@pytest.mark.skipif(not (model_path() / "model.safetensors").exists(), reason="no embedded model")
def test_without_a_model_path_the_embedded_one_runs(cl_llama, device_infos):
    if not device_infos:
        pytest.skip("no OpenCL device")
    words = ("--seed", 1, "--max-new-tokens", 60, "--opencl-device", device_infos[0].index)
    for prompt in ([], ["--prompt", "Once upon a time"]):
        ended = cl_llama(*words, *prompt)
        assert (ended.status, ended.err) == (0, "")
        assert len(ended.out.split()) > 20


def test_the_text_and_one_newline_and_nothing_else(generate, llm):
    for prompt in ("", "Once upon", "hello world"):
        text = llm.generate(prompt, greedy()).text
        assert text
        assert generate("--prompt", prompt) == (0, f"{text}\n", "")
        assert generate("--prompt", prompt, "--quiet") == (0, f"{text}\n", "")
        assert generate("--prompt", prompt, "--echo") == (0, f"{prompt}{text}\n", "")
    assert generate().out == generate("--prompt", "").out
    assert generate("--max-new-tokens", 0) == (0, "\n", "")


def test_options_that_change_nothing(generate, llm):
    text = llm.generate("Once", greedy()).text
    for words in ("--f16", "--precision fast", "--kv-type q8_0", "--top-k 5", "--seed 4"):
        assert generate("--prompt", "Once", *words.split()) == (0, f"{text}\n", "")


def test_until_the_context_is_full(generate, small_model, device_infos, cl_llama):
    words = ["--model-path", small_model, "--ignore-eos", "--json", "--seed", "1"]
    answer = json.loads(cl_llama(*words, "--opencl-device", device_infos[0].index).out)
    assert answer["prompt_tokens"] + answer["generated_tokens"] == 128
    assert answer["finish_reason"] == "length"
    answer = json.loads(generate("--max-new-tokens", 99, "--max-seq-len", 5, "--json").out)
    assert answer["generated_tokens"] == 4
    ended = generate("--prompt", "Once upon a time", "--max-seq-len", 2)
    assert (ended.status, ended.out) == (1, "")
    assert "the context has room for 2" in ended.err


def test_sampling_options_reach_the_sampler(generate, llm):
    settings = {
        "temperature": 3.0,
        "top_k": 50,
        "top_p": 0.9,
        "min_p": 0.01,
        "typical_p": 0.95,
        "top_n_sigma": 3.0,
        "dynatemp_range": 0.5,
        "dynatemp_exponent": 1.5,
        "xtc_probability": 0.4,
        "xtc_threshold": 0.05,
        "dry_multiplier": 0.8,
        "dry_base": 1.5,
        "dry_allowed_length": 1,
        "dry_penalty_last_n": 40,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "seed": 12,
        "max_new_tokens": 30,
    }
    words = [w for name, value in settings.items() for w in (f"--{name.replace('_', '-')}", value)]
    ended = generate(*words, "--logit-bias", "300=4", "--logit-bias", "301=-100", "--prompt", "a")
    params = SamplingParams(**settings, logit_bias={300: 4.0, 301: -100.0})
    assert ended.out == llm.generate("a", params).text + "\n"
    assert params_of(*words) == SamplingParams(**settings)
    breakers = ("--dry-sequence-breaker", r"\n\t", "--dry-sequence-breaker", "é")
    assert params_of(*breakers).dry_sequence_breakers == ("\n\t", "é")
    assert params_of(*breakers[:1], "none").dry_sequence_breakers == ()
    surprise = params_of("--mirostat", 2, "--mirostat-tau", 3, "--mirostat-eta", 0.2)
    assert (surprise.mirostat, surprise.mirostat_tau, surprise.mirostat_eta) == (2, 3.0, 0.2)


def params_of(*words: object) -> SamplingParams:
    return sampling_params(parse([str(word) for word in words]))


def test_defaults_are_rllamas():
    params = params_of()
    assert params == SamplingParams(temperature=1.0, top_k=20, seed=params.seed)
    assert params.seed is not None
    assert params_of().seed != params.seed


def test_a_seed_repeats_the_text(generate):
    words = ("--temperature", 1, "--max-new-tokens", 30)
    first = json.loads(generate(*words, "--json").out)
    again = json.loads(generate(*words, "--json", "--seed", first["seed"]).out)
    assert again["token_ids"] == first["token_ids"]


def test_stop_texts(generate, llm):
    text = llm.generate("Once", greedy(30)).text
    stop = text[5:8]
    words = ("--prompt", "Once", "--max-new-tokens", 30, "--stop", "@@@@", "--stop", stop)
    assert generate(*words).out == text[: text.index(stop)] + "\n"


def test_end_tokens(generate, llm):
    bias = ("--logit-bias", "2=1000")
    assert generate(*bias).out == "\n"
    ignored = json.loads(generate(*bias, "--ignore-eos", "--json").out)
    assert ignored["token_ids"] == [2] * 8
    assert ignored["finish_reason"] == "length"


def test_no_bos(generate, llm):
    ids = llm.tokenizer.encode("Once upon", add_bos=False)
    answer = json.loads(generate("--prompt", "Once upon", "--no-bos", "--json").out)
    assert answer["prompt_tokens"] == len(ids)
    assert answer["token_ids"] == llm.generate(ids, greedy()).token_ids
    ended = generate("--no-bos")
    assert (ended.status, ended.out) == (1, "")
    assert "it holds no token" in ended.err


def test_json(generate, llm, device_infos):
    ended = generate("--prompt", "Größe €", "--echo", "--json", "--seed", 7)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.isascii() and ended.out.count("\n") == 1
    answer = json.loads(ended.out)
    completion = llm.generate("Größe €", greedy())
    timings = answer.pop("timings")
    device = device_infos[0]
    assert answer == {
        "text": "Größe €" + completion.text,
        "token_ids": completion.token_ids,
        "finish_reason": "length",
        "prompt_tokens": len(completion.prompt_token_ids),
        "generated_tokens": 8,
        "draft_tokens": 0,
        "accepted_draft_tokens": 0,
        "seed": 7,
        "device": {"index": device.index, "platform": device.platform, "name": device.name},
    }
    assert all(timings[name] > 0 for name in timings)
    assert sorted(timings) == [
        "generated_tokens_per_second",
        "load_seconds",
        "prompt_tokens_per_second",
        "seconds_to_first_token",
    ]


def test_verbose(generate, device_infos):
    ended = generate("--prompt", "Once", "--verbose", "--seed", 5)
    assert ended.out == generate("--prompt", "Once").out
    lines = dict(line.split(":", 1) for line in ended.err.splitlines())
    assert lines["device"].strip() == device_infos[0].label
    assert "tokens/s" in lines["prompt"]
    assert lines["generated"].strip().startswith("8 tokens, ")
    assert lines["first token"].strip().startswith("after ")
    assert lines["seed"].strip() == "5"
    assert int(lines["kernel cache"].split()[0]) > 0
    assert {"loaded in", "ended by"} <= set(lines)
    assert "first token:  none" in generate("--max-new-tokens", 0, "--verbose").err


def test_guesses(generate):
    words = ("--prompt", "Once upon Once upon", "--max-new-tokens", 100)
    text = generate(*words).out
    guessed = generate(*words, "--speculative", "lookup", "--draft-tokens", 3, "--json")
    answer = json.loads(guessed.out)
    assert answer["text"] + "\n" == text
    assert 0 < answer["accepted_draft_tokens"] <= answer["draft_tokens"] < 300
    shown = generate(*words, "--speculative", "lookup", "--draft-tokens", 3, "--verbose").err
    right, drafted = answer["accepted_draft_tokens"], answer["draft_tokens"]
    assert f"guessed:      {right} of {drafted} tokens were right" in shown


def test_prompt_file(generate, tmp_path):
    path = tmp_path / "prompt.txt"
    expected = generate("--prompt", "Größe\nOnce upon").out
    for content in ("Größe\nOnce upon", "Größe\nOnce upon\n", "\ufeffGröße\nOnce upon\n"):
        path.write_bytes(content.encode())
        assert generate("--prompt-file", path).out == expected
    path.write_bytes(b"Once\n\n")
    assert generate("--prompt-file", path, "--echo").out.startswith("Once\n")
    path.write_bytes(b"Once\r\n")
    assert generate("--prompt-file", path).out == generate("--prompt", "Once").out


def test_prompt_from_standard_input(generate, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Größe €\n".encode()), "ascii"))
    assert generate("--prompt", "-").out == generate("--prompt", "Größe €").out
    monkeypatch.setattr(sys, "stdin", None)
    ended = generate("--prompt", "-")
    assert ended == (1, "", "cl-llama: error: --prompt -: standard input is closed\n")


def test_prompts_that_cannot_be_read(generate, tmp_path, monkeypatch):
    path = tmp_path / "prompt.txt"
    for name, message in ((path, "No such file"), (tmp_path, "Is a directory"), ("a\0b", "null")):
        ended = generate("--prompt-file", name)
        assert (ended.status, ended.out) == (1, "")
        assert message in ended.err and ended.err.count("\n") == 1
    path.write_bytes(b"ab\xff")
    assert "expected UTF-8 text, got byte 0xff at 2" in generate("--prompt-file", path).err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xe2\x82")))
    assert "--prompt -: expected UTF-8 text" in generate("--prompt", "-").err


def test_a_person_who_types_the_prompt_is_told_how(generate, monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"Once\n")))
    ended = generate("--prompt", "-")
    assert (ended.status, ended.err.count("Ctrl-D")) == (0, 1)
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(b"Once\n")))
    assert generate("--prompt", "-", "--quiet").err == ""


def test_errors_are_one_line(generate, cl_llama, small_model, tmp_path, device_infos):
    truncated = tmp_path / "truncated.bin"
    truncated.write_bytes(small_model.read_bytes()[:5000])
    alone = tmp_path / "alone.bin"
    alone.write_bytes(small_model.read_bytes())
    index = ("--opencl-device", device_infos[0].index)
    cases = {
        "no such file or folder": ("--model-path", tmp_path / "missing\nmodel"),
        "truncated.bin": ("--model-path", truncated),
        "no model in this folder": ("--model-path", tmp_path / ".."),
        "came without a tokenizer": ("--model-path", alone, *index),
        "expected llama2.c's tokenizer.bin": ("--model-path", alone, "--tokenizer-path", truncated),
        "does not exist; there is": ("--model-path", small_model, "--opencl-device", "77"),
        "matches no device": ("--model-path", small_model, "--opencl-device", "no-such-name"),
        "carries its parameters": ("--model-path", alone, "--param-path", truncated),
        "token id 9999": ("--model-path", small_model, *index, "--logit-bias", "9999=1"),
    }
    for message, words in cases.items():
        ended = cl_llama(*words)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err.startswith("cl-llama: error: ")
        assert ended.err.count("\n") == 1
        assert message in ended.err


def test_a_compilers_log_follows_the_line(generate, monkeypatch):
    def refuse(*_, **__):
        raise KernelBuildError("x.cl does not build; compiler's log:\nx.cl:1: error\nx.cl:2: error")

    monkeypatch.setattr("cl_llama.opencl.runtime.build_program", refuse)
    ended = generate("--prompt", "Once")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[1:] == ["x.cl:1: error", "x.cl:2: error"]


def test_an_error_in_the_middle_ends_the_texts_line(generate, monkeypatch):
    from cl_llama.engine.sampling import StepLogits
    from cl_llama.errors import DeviceError

    choose, calls = StepLogits.choose, []

    def fail_later(self, row, sampler):
        calls.append(row)
        if len(calls) > 5:
            raise DeviceError("the device is gone")
        return choose(self, row, sampler)

    monkeypatch.setattr(StepLogits, "choose", fail_later)
    ended = generate("--prompt", "Once upon")
    assert ended.status == 1
    assert len(ended.out) > 1 and ended.out.endswith("\n")
    assert ended.err == "cl-llama: error: the device is gone\n"


def test_max_threads(generate, llm, device_infos):
    if "llvmpipe" in device_infos[0].name:
        pytest.skip("this driver cannot limit its threads")
    text = llm.generate("Once", greedy()).text
    assert generate("--prompt", "Once", "--max-threads", 1) == (0, f"{text}\n", "")


def test_full_memory_is_one_line(generate, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(Llama, "from_pretrained", fail)
    assert generate() == (1, "", "cl-llama: error: the host's memory is full\n")


def test_params_of_a_path_with_a_tilde(generate, small_model, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.txt").write_text("Once")
    assert generate("--prompt-file", Path("~/p.txt")).out == generate("--prompt", "Once").out


def test_a_chat(generate, llm, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}")
    prompt = "system: Be brief. user: hello "
    answer = llm.generate(prompt, greedy()).text
    words = ("--chat", "--prompt", "hello", "--system-prompt", "Be brief.", "--chat-template")
    ended = generate(*words, template)
    assert (ended.status, ended.out.strip(), ended.err) == (0, answer.strip(), "")
    assert generate(*words, template.read_text()) == ended
    assert generate(*words, template, "--echo").out == f"hello\n{ended.out}"
    answer = json.loads(generate(*words, template, "--json").out)
    assert answer["prompt_tokens"] == len(llm.tokenizer.encode(prompt))


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--prompt", "a", "--chat"], 1, "this model brings no chat template"),
        (["--prompt", "a", "--chat", "--chat-template", "no"], 1, "'no' is no file, no template"),
        (["--prompt", "a", "--chat-template", "llama2"], 2, "--chat-template: goes with --chat"),
        (["--prompt", "a", "--system-prompt", "b"], 2, "--system-prompt: goes with --chat"),
        (["--chat"], 2, "--chat: goes with --prompt or --prompt-file"),
        (["--prompt", "a", "--chat", "--no-bos"], 2, "--no-bos: not with --chat"),
    ],
)
def test_a_chat_that_cannot_be(generate, words, status, message):
    ended = generate(*words)
    assert (ended.status, ended.out) == (status, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1
