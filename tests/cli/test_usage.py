"""Wrong usage: one line on standard error, exit status 2. Help and version."""

import pytest

from cl_llama.cli.parser import COMMANDS, make_parser


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--temperature -1", "argument --temperature: must be a finite number of at least 0"),
        ("--temperature nan", "argument --temperature: must be a finite number of at least 0"),
        ("--temperature hot", "argument --temperature: must be a number, got 'hot'"),
        ("--top-k -1", "argument --top-k: must be an int of at least 0 (0: off), got -1"),
        ("--top-k 1.5", "argument --top-k: must be a whole number, got '1.5'"),
        ("--top-p 2", "argument --top-p: must be a number between 0 and 1"),
        ("--min-p -1", "argument --min-p: must be a number between 0 and 1"),
        ("--repetition-penalty 0", "argument --repetition-penalty: must be a number between"),
        ("--presence-penalty 3", "argument --presence-penalty: must be a number between -2 and 2"),
        ("--frequency-penalty -3", "argument --frequency-penalty: must be a number between"),
        ("--logit-bias 5", "argument --logit-bias: must be a token's id, = and a number, got '5'"),
        ("--logit-bias 5=x", "argument --logit-bias: must be a token's id, = and a number"),
        ("--logit-bias=-5=1", "argument --logit-bias: must be a mapping of token ids"),
        ("--seed x", "argument --seed: must be a whole number, got 'x'"),
        ("--max-new-tokens -1", "argument --max-new-tokens: must be an int of at least 0, got -1"),
        ("--max-seq-len 0", "argument --max-seq-len: must be a whole number of at least 1"),
        ("--max-threads many", "argument --max-threads: must be a whole number of at least 1"),
        ("--precision low", "argument --precision: invalid choice: 'low'"),
        ("--stop=", "argument --stop: must not be empty"),
        ("--stop --seed", "write --option=VALUE if the value begins with a dash"),
        ("--prompt \udcff", "argument --prompt: is not valid text: '\\udcff'"),
        ("--prompt a --prompt-file b", "argument --prompt-file: not allowed with"),
        ("--quiet --verbose", "argument --verbose: not allowed with argument -q/--quiet"),
        ("--tokenizer-path a", "argument --tokenizer-path: goes with --model-path"),
        ("--param-path a", "argument --param-path: goes with --model-path"),
        ("--draft-tokens 3", "argument --draft-tokens: goes with --speculative or --draft-model"),
        ("--speculative draft", "argument --speculative: draft goes with --draft-model"),
        ("--speculative lookup --draft-model a", "--draft-model: not with --speculative lookup"),
        ("--temprature 1", "there is no option --temprature; did you mean --temperature?"),
        ("--temp 1", "there is no option --temp"),
        ("--percentage-to-gpu 1", "there is no option --percentage-to-gpu"),
        (
            "device",
            f"there is no command 'device' (there is {', '.join(COMMANDS)}); did you mean devices?",
        ),
        (
            "hello",
            f"there is no command 'hello' (there is {', '.join(COMMANDS)}); a prompt goes after",
        ),
        ("--prompt Once upon", "put a prompt of several words in quotes"),
        ("--seed 1 devices", "the options before devices are not its own; put the command first"),
        ("devices --seed 1", "unrecognized arguments: --seed 1"),
        ("devices --js", "unrecognized arguments: --js"),
    ],
)
def test_wrong_usage(cl_llama, words, message):
    ended = cl_llama(*words.split())
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("cl-llama: error: ")
    assert ended.err.count("\n") == 1
    assert message in ended.err
    assert "--help)" in ended.err


def test_values_that_look_like_options(cl_llama, tmp_path):
    missing = tmp_path / "missing"
    for words in (["--prompt", "-- a dash"], ["--prompt=--seed"], ["--logit-bias", "3=-1"]):
        ended = cl_llama("--model-path", missing, *words)
        assert (ended.status, ended.out) == (1, "")
        assert "no such file or folder" in ended.err


def test_help_fits_80_columns(cl_llama, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in (
        ["--help"],
        ["-h"],
        ["--seed", "1", "--help"],
        *([c, "--help"] for c in COMMANDS),
    ):
        ended = cl_llama(*words)
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.startswith("usage: cl-llama ")
        assert max(map(len, ended.out.splitlines())) <= 80


def test_help_names_every_option_and_command(cl_llama):
    out = cl_llama("--help").out
    for action in make_parser()._actions:
        assert all(flag in out for flag in action.option_strings)
        assert action.help is None or "%(default)s" not in out
    assert all(f"\n    {command} " in out for command in COMMANDS)


def test_version(cl_llama):
    ended = cl_llama("--version")
    assert (ended.status, ended.err) == (0, "")
    name, version = ended.out.split()
    assert name == "cl-llama"
    assert version
