"""What the README shows is what there is: the help, the test command, the Python example."""

import re
import subprocess
from pathlib import Path

import pytest

from cl_llama.cli.parser import make_parser
from cl_llama.demo import model_path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block_after(marker: str) -> str:
    """The code block that follows a marker."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)\n```\n", README, re.DOTALL)
    assert found, f"README.md has no block after <!-- {marker} -->"
    return found[1]


def test_the_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert make_parser().format_help().rstrip("\n") == block_after("help")


def test_every_sampling_option_is_in_the_table():
    table = README[README.index("### Sampling") : README.index("### All options")]
    parser = make_parser()
    (group,) = (group for group in parser._action_groups if group.title == "sampling")
    for action in group._group_actions:
        assert f"| `{action.option_strings[0]} {action.metavar}` |" in table


def test_ci_runs_the_test_command():
    command = block_after("test command")
    script = ROOT / ".ci" / "run"
    (awk,) = re.findall(r"line=\$\((awk .*)\)", script.read_text())
    extracted = subprocess.run(
        ["bash", "-c", awk], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert extracted.stdout == f"{command}\n"
    assert command.count("\n") == 0
    assert command.endswith("-m pytest -n 2")
    assert "eval" not in script.read_text()
    assert "${line//.venv/$venv}" in script.read_text()


def test_ci_is_a_script_that_bash_can_read():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_paths_of_the_map_are_there():
    table = README[README.index("| path | what is there |") : README.index("## Licence")]
    for path in re.findall(r"`([\w/.]+/[\w.]*)`", table):
        assert (ROOT / path).exists(), path


@pytest.mark.skipif(not (model_path() / "model.safetensors").exists(), reason="no embedded model")
def test_the_python_example(device_infos, capsys):
    if not device_infos:
        pytest.skip("no OpenCL device")
    names: dict[str, object] = {}
    exec(block_after("python example"), names)
    out = capsys.readouterr().out
    assert device_infos[0].label in out
    assert len(names["several"]) == 2
    assert names["logits"].shape == (
        len(names["llm"].tokenizer.encode("Once upon a time")),
        names["llm"].config.vocab_size,
    )
