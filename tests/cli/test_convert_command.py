"""`cl-llama convert`: writes whole files only, and over none that it was not told to."""

import pytest

from cl_llama.checkpoints import open_checkpoint


def test_a_file_is_written_once(cl_llama, small_model, tmp_path):
    target = tmp_path / "new" / "small.gguf"
    done = cl_llama("convert", small_model, target, "--quantize", "q8_0")
    size = target.stat().st_size
    assert done == (0, f"{target}: {size / 1e6:,.1f} MB\n", "")
    with open_checkpoint(target) as checkpoint:
        assert checkpoint.format == "gguf" and checkpoint.tokenizer_path == target
        assert checkpoint.tensors["output.weight"].format == "q8_0"
    assert list(target.parent.iterdir()) == [target]

    again = cl_llama("convert", small_model, target)
    assert again.status == 1 and "it exists already; --force replaces it" in again.err
    assert target.stat().st_size == size
    assert cl_llama("convert", small_model, target, "--force", "--no-tokenizer").status == 0
    with open_checkpoint(target) as checkpoint:
        assert checkpoint.tensors["output.weight"].format == "f16"
        assert checkpoint.tokenizer_path is None


def test_nothing_is_left_of_what_failed(cl_llama, small_model, tmp_path):
    target = tmp_path / "small.gguf"
    target.write_bytes(b"before")
    cut = tmp_path / "cut.bin"
    cut.write_bytes(small_model.read_bytes()[:-4])
    failed = cl_llama("convert", cut, target, "--force")
    assert failed.status == 1 and failed.err.count("\n") == 1
    assert target.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == [cut, target]


def test_a_folder_keeps_its_other_files(cl_llama, small_model, tmp_path):
    target = tmp_path / "model"
    assert cl_llama("convert", small_model, target).status == 0
    names = {"config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"}
    assert {file.name for file in target.iterdir()} == names
    (target / "README.md").write_text("mine")
    weights = (target / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(b"")
    assert "it exists already" in cl_llama("convert", small_model, target).err
    assert cl_llama("convert", small_model, target, "--force").status == 0
    assert (target / "model.safetensors").read_bytes() == weights
    assert (target / "README.md").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("taken.gguf", (), "there is a folder of this name"),
        ("taken", (), "there is a file of this name; name a folder"),
        ("new", ("--quantize", "q8_0"), "--quantize needs a name that ends in .gguf"),
    ],
)
def test_names_that_do_not_fit(cl_llama, small_model, tmp_path, name, options, problem):
    (tmp_path / "taken.gguf").mkdir()
    (tmp_path / "taken").write_bytes(b"")
    done = cl_llama("convert", small_model, tmp_path / name, "--force", *options)
    assert done.status == 1 and problem in done.err
