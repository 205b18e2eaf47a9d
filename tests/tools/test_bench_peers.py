"""The comparison with other engines: turns, ratios, engines that fail. Others are made up."""

import json
from pathlib import Path

import pytest

from cl_llama.bench.shapes import SHAPES, Shape
from cl_llama.opencl.devices import DeviceInfo
from tools import bench_peers
from tools.bench_peers import ENGINES, Engine

# Takes 1 s for 100 tokens of a prompt and for 10 tokens after it, and logs its turns.
FAKE = """
import sys
sys.path.insert(0, {peers!r})
from protocol import serve

class Fake:
    def __init__(self, settings):
        if settings.get("broken"):
            raise FileNotFoundError("it is not installed")
        print("noise on standard output")
        self.description = "made up"
        self.name, self.folder = settings["name"], settings["folder"]
        self.factor = settings.get("factor", 1)

    def log(self, what):
        with open(self.folder + "/log", "a") as file:
            file.write(f"{{self.name}} {{what}}\\n")

    def prefill(self, tokens):
        self.log(f"pp{{tokens}}")
        return self.factor * tokens / 100

    def decode(self, tokens, depth):
        self.log(f"tg{{tokens}} {{depth}}")
        if self.name == "dies":
            raise RuntimeError("first line\\nsecond line")
        return self.factor * tokens / 10

serve(Fake)
"""


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Engine]:
    """Two of ours and several of theirs, none of them real."""
    programs = {}
    for program in ("cl-llama", "other"):
        (tmp_path / f"{program}.py").write_text(FAKE.format(peers=str(bench_peers._PEERS)))
        programs[program] = str(tmp_path / f"{program}.py")
    made_up = {
        "ours": Engine("cl-llama", {"name": "ours"}),
        "ours fast": Engine("cl-llama", {"name": "ours fast", "factor": 0.5}),
        "theirs": Engine("other", {"name": "theirs", "factor": 4}),
        "no prompts": Engine("other", {"name": "no prompts", "factor": 2}, prefills=False),
        "dies": Engine("other", {"name": "dies"}),
        "missing": Engine("other", {"name": "missing", "broken": True}),
    }
    monkeypatch.setattr(bench_peers, "_PROGRAMS", programs)
    before = dict(ENGINES)
    ENGINES.clear()
    ENGINES.update(made_up)
    yield ENGINES
    ENGINES.clear()
    ENGINES.update(before)


def run(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, dict, str]:
    status = bench_peers.main(["--folder", str(folder), "--threads", "1", "--json", *words])
    out, _ = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]), out


def test_turns_and_ratios(engines, tmp_path, capsys) -> None:
    words = ["-p", "400,200", "-n", "20", "-d", "7", "-r", "2"]
    status, found, out = run(capsys, tmp_path, *words)
    assert status == 0
    assert found["ratios"]["ours"]["theirs"] == pytest.approx(
        {"pp200": 4.0, "pp400": 4.0, "tg20": 4.0}
    )
    assert found["ratios"]["ours fast"]["no prompts"] == pytest.approx({"tg20": 4.0})
    assert "dies" not in found["ratios"]["ours"]
    assert set(found["ratios"]) == {"ours", "ours fast"}
    assert found["engines"]["theirs"]["tokens_per_s"]["tg20"] == pytest.approx(2.5)
    assert found["engines"]["missing"]["skipped"] == "FileNotFoundError: it is not installed"
    assert found["engines"]["dies"]["skipped"] == "RuntimeError: first line"
    assert "missing: skipped: FileNotFoundError: it is not installed" in out
    log = (tmp_path / "log").read_text().splitlines()
    assert [line for line in log if "dies" not in line] == 3 * [
        "ours pp200",
        "ours pp400",
        "ours tg20 7",
        "ours fast pp200",
        "ours fast pp400",
        "ours fast tg20 7",
        "theirs pp200",
        "theirs pp400",
        "theirs tg20 7",
        "no prompts tg20 7",
    ]


def test_what_takes_too_long_is_measured_once(engines, tmp_path, capsys) -> None:
    words = [
        "-p",
        "100,200,400",
        "-n",
        "1",
        "-r",
        "3",
        "--patience",
        "5",
        "--engines",
        "ours,theirs",
    ]
    _, found, _ = run(capsys, tmp_path, *words)
    assert len(found["engines"]["ours"]["repetitions"]["pp400"]) == 3
    slow = found["engines"]["theirs"]["repetitions"]
    assert len(slow["pp100"]) == 3
    assert slow["pp200"] == pytest.approx([25.0])
    assert "pp400" not in slow
    assert len(slow["tg1"]) == 3


def test_a_python_that_is_not_there(engines, tmp_path, capsys) -> None:
    words = ["-p", "0", "-r", "1", "--engines", "ours,theirs", "--python", "other=/no/such/python"]
    status, found, _ = run(capsys, tmp_path, *words)
    assert status == 0
    assert found["engines"]["theirs"]["skipped"] == "/no/such/python: No such file or directory"


def test_formats_come_one_after_another(engines, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(
        bench_peers,
        "quantized_engines",
        lambda form: {
            f"{form}: {name}": Engine(engine.program, engine.settings | {"name": f"{form} {name}"})
            for name, engine in engines.items()
            if name in ("ours", "theirs", "missing")
        },
    )
    for form in ("q4_0", "q4_k"):
        (tmp_path / f"model-{form}.gguf").touch()
    words = ["--quantize", "q4_0", "q4_k", "-p", "0", "-n", "10", "-r", "1"]
    status, found, out = run(capsys, tmp_path, *words)
    assert status == 0
    assert found["ratios"] == {
        f"{form}: ours": {f"{form}: theirs": {"tg10": 4.0}} for form in ("q4_0", "q4_k")
    }
    assert found["engines"]["q4_k: theirs"]["description"] == "made up"
    assert out.count("missing: skipped: ") == 2
    log = (tmp_path / "log").read_text().splitlines()
    assert log == [
        f"{form} {name} tg10 0"
        for form in ("q4_0", "q4_k")
        for _ in range(2)
        for name in ("ours", "theirs")
    ]


@pytest.mark.parametrize("words", [["--engines", "nobody"], ["--python", "nothing=python"]])
def test_unknown_names(engines, tmp_path, capsys, words) -> None:
    with pytest.raises(SystemExit):
        bench_peers.main(["--folder", str(tmp_path), *words])
    assert "there is no" in capsys.readouterr().err


def test_ours(tmp_path, monkeypatch, capsys, device_infos: list[DeviceInfo]) -> None:
    if not device_infos:
        pytest.skip("no OpenCL device")
    from tools import make_random_model

    monkeypatch.setitem(SHAPES, "tiny", Shape("a tiny one", 64, 2, 4, 2, 96, 128))
    folder = tmp_path / "model"
    make_random_model.main(["tiny", str(folder), "--max-seq-len", "64"])
    device = str(device_infos[0].index)
    words = ["--shape", "tiny", "--engines", "cl-llama", "--device", device, "-p", "20", "-n", "3"]
    status, found, _ = run(capsys, folder, *words, "-r", "1")
    assert status == 0
    assert found["engines"]["cl-llama"]["skipped"] is None
    assert all(rate > 0 for rate in found["engines"]["cl-llama"]["tokens_per_s"].values())
    nobody = [f"{program}={tmp_path / 'python'}" for program in ("llama.cpp", "openvino")]
    others = [word for one in nobody for word in ("--python", one)]
    words = [*words[:2], "--quantize", "q8_0", *words[4:], *others]
    status, found, _ = run(capsys, folder, *words, "-r", "1")
    assert status == 0
    for precision in ("fast", "high"):
        ours = found["engines"][f"q8_0: cl-llama {precision}"]
        assert ours["description"].count(f", q8_0, precision {precision}") == 1
        assert set(ours["tokens_per_s"]) == {"pp20", "tg3"}
