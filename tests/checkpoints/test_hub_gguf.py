import pytest

from cl_llama.checkpoints.hub_gguf import choose_gguf, parts_of
from cl_llama.errors import CheckpointError

FILES = [
    "README.md",
    "Model-Q2_K.gguf",
    "Model-Q4_K_M.gguf",
    "Model-Q4_K_S.gguf",
    "Model-UD-Q4_K_XL.gguf",
    "Model-imatrix.gguf",
    "BF16/Model-BF16-00001-of-00003.gguf",
    "BF16/Model-BF16-00002-of-00003.gguf",
    "BF16/Model-BF16-00003-of-00003.gguf",
]
PARTS = FILES[-3:]
TWO = ["7b.Q4_K_M.gguf", "70b.Q4_K_M.gguf", "7b.Q8_0.gguf"]


@pytest.mark.parametrize(
    ("files", "tag", "expected"),
    [
        (FILES, None, ["Model-Q4_K_M.gguf"]),
        (FILES, "q4_k_m", ["Model-Q4_K_M.gguf"]),
        (FILES, "Q4_K_XL", ["Model-UD-Q4_K_XL.gguf"]),
        (FILES, "UD-Q4_K_XL", ["Model-UD-Q4_K_XL.gguf"]),
        (FILES, "BF16", PARTS),
        (PARTS, None, PARTS),
        (["only.gguf"], None, ["only.gguf"]),
        (["Q8_0/m.gguf", "Q4_0/m.gguf"], "Q8_0", ["Q8_0/m.gguf"]),
        (["a/m-Q8_0.gguf", "Q8_0/m-Q4_0.gguf"], "Q8_0", ["a/m-Q8_0.gguf"]),
        (TWO, "Q8_0", ["7b.Q8_0.gguf"]),
        (["model.safetensors"], None, []),
        (["model.safetensors", "mmproj-F16.gguf"], "Q8_0", []),
    ],
)
def test_choice(files, tag, expected):
    assert choose_gguf("org/m", files, tag) == expected


@pytest.mark.parametrize(
    ("files", "tag", "message"),
    [
        (FILES, "Q4_K", "5 GGUF files on the hub none is Q4_K; add one of :BF16, :Q2_K, :Q4_K_M, "),
        (["m-Q4_0.gguf", "m-IQ4_XS.gguf"], None, "none is Q4_K_M; add one of :IQ4_XS, :Q4_0"),
        (TWO, None, "several are Q4_K_M; add a file: /70b.Q4_K_M.gguf, /7b.Q4_K_M.gguf, /7b"),
        (["a.gguf", "b.gguf"], None, "add a file: /a.gguf, /b.gguf"),
        ([f"{i:02}.gguf" for i in range(20)], "F16", r"/07.gguf, \.\.\.$"),
    ],
)
def test_refusals(files, tag, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        choose_gguf("org/m", files, tag)
    assert str(caught.value).startswith("'org/m': ") and "\n" not in str(caught.value)


def test_parts():
    assert parts_of("m.gguf") == ["m.gguf"]
    assert parts_of(PARTS[1]) == PARTS
