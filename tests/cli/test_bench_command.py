"""`cl-llama bench` on a model small enough for a test: table, JSON, errors."""

import json
import sys

import pytest

from cl_llama.bench.shapes import SHAPES, Shape

QUICK = ["-p", 20, "-n", 3, "-r", 2, "--read-mib", 16]


@pytest.fixture(autouse=True)
def tiny_shape(monkeypatch) -> None:
    monkeypatch.setitem(SHAPES, "tiny", Shape("a tiny one", 64, 2, 4, 2, 96, 128))


@pytest.fixture
def bench(cl_llama, device_infos):
    """Runs a quick bench on the first device."""
    if not device_infos:
        pytest.skip("no OpenCL device")
    return lambda *words: cl_llama("bench", *QUICK, "--device", device_infos[0].index, *words)


def test_json(cl_llama, device):
    words = ["--shape", "tiny", *QUICK, "-d", "0,40", "-b", "1,3", "--device", device.index]
    ended = cl_llama("bench", *words, "--json")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out.splitlines()[-1])
    assert found["device"] == device.label
    matrices = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 96) + 2 * 128 * 64
    assert found["weight_bytes"] == 2 * matrices + 4 * 5 * 64
    assert found["weight_formats"] == {"f16": 2 * matrices}
    assert [found[key] for key in ("quantize", "kv_type", "precision")] == [None, "f16", "high"]
    for key in ("bandwidth_gb_s", "gflops_roof", "load_s", "first_token_s", "first_token_again_s"):
        assert found[key] > 0
    assert found["peak_rss_bytes"] > 1 << 20
    assert found["first_token_prompt"] == 20
    cases = [(r["test"], r["batch"], r["depth"]) for r in found["results"]]
    assert cases == [
        (test, batch, depth)
        for depth in (0, 40)
        for test, batch in (("pp20", 1), ("tg3", 1), ("tg3", 3))
    ]
    for result in found["results"]:
        assert len(result["repetitions"]) == 2
        assert 0 < result["tokens_per_s_min"] <= result["tokens_per_s"]
        assert result["tokens_per_s"] <= result["tokens_per_s_max"]
        assert 0 < result["roof_share"] < 1.5
        assert result["roof_tokens_per_s"] > 0
        assert result["roof"] in ("bandwidth", "fma")


def test_quantised_weights(bench):
    ended = bench("--shape", "tiny", "--quantize", "q8_0", "--kv-type", "q8_0", "--json")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    values = 2 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 96) + 2 * 128 * 64
    assert found["weight_bytes"] == values * 34 // 32 + 4 * 5 * 64
    assert found["weight_formats"] == {"q8_0": values * 34 // 32}
    assert [found[key] for key in ("quantize", "kv_type", "precision")] == ["q8_0", "q8_0", "fast"]


def test_table(bench, device_infos, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = bench("--shape", "tiny", "--depth", 40)
    assert (ended.status, ended.err) == (0, "")
    assert device_infos[0].name in ended.out
    assert "…" not in ended.out
    rows = [line.split() for line in ended.out.splitlines()]
    assert [row[:3] for row in rows if row and row[0] in ("pp20", "tg3")] == [
        ["pp20", "1", "40"],
        ["tg3", "1", "40"],
    ]


def test_profile(cl_llama, device):
    words = ["--shape", "tiny", *QUICK, "-b", 2, "--device", device.index, "--profile"]
    ended = cl_llama("bench", *words, "--json")
    assert (ended.status, ended.err) == (0, "")
    profiles = json.loads(ended.out)["profile"]
    assert [(p["test"], p["batch"]) for p in profiles] == [("pp20", 1), ("tg3", 2)]
    for profile in profiles:
        assert 0 <= profile["host_share"] < 1
        shares = sum(command["share"] for command in profile["commands"])
        assert shares + profile["host_share"] == pytest.approx(1, abs=0.01)
        products = [c for c in profile["commands"] if "matmul" in c["name"]]
        assert all(c["gb_s"] > 0 and c["gflops"] > 0 for c in products)
        assert sum(c["launches"] for c in products) >= 9  # two layers and the output


def test_profile_as_a_table(bench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = bench("--shape", "tiny", "--profile")
    assert (ended.status, ended.err) == (0, "")
    assert "tg3, batch 1, depth 0: a step of" in ended.out
    assert "(host)" in ended.out
    assert "…" not in ended.out
    assert max(map(len, ended.out.splitlines()[6:])) <= 80


@pytest.mark.parametrize("as_option", [False, True])
def test_a_model_from_a_file(bench, small_model, as_option):
    ended = bench(*(["--model-path"] if as_option else []), small_model, "--json")
    assert (ended.status, ended.err) == (0, "")
    assert json.loads(ended.out)["model"] == small_model.name


def test_the_embedded_model(bench):
    ended = bench("--json", "-r", 1, "--no-matrix-units")
    assert (ended.status, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert (found["model"], found["matrix_unit"]) == ("the embedded model", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shape", "6b"], "--shape: there is no '6b'; there is 135m, 1b,"),
        (["--shape", "tiny", "-p", "0", "-n", "0"], "there is nothing to measure"),
        (["--shape", "tiny", "-d", "200000"], "200020 positions are asked for"),
        (["--shape", "tiny", "-b", "1000000000"], "lower --depth, --gen-tokens or --batch-size"),
        (["no-such-model"], "no-such-model"),
    ],
)
def test_errors_in_one_line(bench, words, message):
    ended = bench(*words)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("cl-llama: error: ")
    assert ended.err.count("\n") == 1
    assert message in ended.err


def test_a_depth_beyond_the_model(bench, small_model):
    ended = bench(small_model, "-d", 120)
    assert (ended.status, ended.out) == (1, "")
    assert "140 positions are asked for" in ended.err
    assert "was made for 128" in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "many"], "argument -p/--prompt-tokens: must be whole numbers"),
        (["-d", "-1"], "argument -d/--depth: "),
        (["--repetitions", "0"], "argument -r/--repetitions: must be a whole number of at least 1"),
        (["--shape", "1b", "--model-path", "x"], "not allowed with argument"),
        (["--shape", "1b", "x"], "not allowed with argument"),
    ],
)
def test_wrong_usage(cl_llama, words, message):
    ended = cl_llama("bench", *words)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err


def test_plot(bench, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "bench.png"
    ended = bench("--shape", "tiny", "-d", "0,40", "-b", "1,2", "--plot", path)
    assert (ended.status, ended.err) == (0, "")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 10_000


def test_plot_without_matplotlib(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = bench("--shape", "tiny", "--plot", tmp_path / "bench.png")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == (
        'cl-llama: error: --plot needs matplotlib; pip install "cl-llama[plot]" brings it\n'
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("bench.jpg", "should end in .png"), ("missing/bench.png", "missing is not a folder")],
)
def test_a_plot_that_cannot_be_written(bench, tmp_path, name, message):
    pytest.importorskip("matplotlib")
    ended = bench("--shape", "tiny", "--plot", tmp_path / name)
    assert (ended.status, ended.out) == (1, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1
