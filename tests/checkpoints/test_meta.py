import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import (
    CONFIG,
    check_tensors,
    meta_tensors,
    pickled_dict,
    pickled_tensor,
    split,
    stored,
    torch_records,
    write_folder,
    write_json,
    write_meta,
    write_zip,
)

from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import CheckpointError

TENSORS = meta_tensors() | {"rope.freqs": np.ones(2, np.float32)}


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("embedding_axis", [0, 1])
@pytest.mark.parametrize("unzipped", [False, True])
def test_folder(tmp_path, dtype, shards, embedding_axis, unzipped):
    write_meta(tmp_path / "7B", TENSORS, dtype, shards, embedding_axis, unzipped)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    first = "consolidated.00" if unzipped else "consolidated.00.pth"
    for path in (tmp_path / "7B", tmp_path / "7B" / first):
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.format == "meta"
            assert checkpoint.config["dim"] == CONFIG["dim"]
            assert checkpoint.tokenizer_path.name == "tokenizer.model"
            check_tensors(checkpoint, TENSORS, dtype)


def test_rows_of_column_shards_touch_only_their_part(tmp_path):
    write_meta(tmp_path, TENSORS, "f32", 4, 1)
    with open_checkpoint(tmp_path) as checkpoint:
        tensor = checkpoint.tensors["tok_embeddings.weight"]
        rows = tensor.read_rows(3, 5)
        assert rows.shape == (2, CONFIG["dim"])
        np.testing.assert_array_equal(rows, TENSORS["tok_embeddings.weight"][3:5])


@pytest.mark.parametrize(
    "inside",
    ["7B/consolidated", "7B/consolidated.00/archive", "7B/consolidated.00.pth", "7B/archive"],
)
def test_unzipped_folders(tmp_path, inside):
    """The folders that `unzip` leaves, renamed as RLLaMA asked for or not."""
    (tmp_path / "7B").mkdir()
    write_json(tmp_path / "7B" / "params.json", {"dim": CONFIG["dim"]})
    write_folder(tmp_path / inside, torch_records(TENSORS))
    with open_checkpoint(tmp_path / "7B") as checkpoint:
        check_tensors(checkpoint, TENSORS, "f16")
    params = tmp_path / "7B" / "params.json"
    with open_checkpoint(tmp_path / inside, param_path=params) as checkpoint:
        check_tensors(checkpoint, TENSORS, "f16")


def test_unzipped_files_are_not_held_open(tmp_path):
    fds = Path("/proc/self/fd")
    if not fds.exists():
        pytest.skip("the system does not list open files")
    write_meta(tmp_path, TENSORS, unzipped=True)
    before = len(list(fds.iterdir()))
    with open_checkpoint(tmp_path) as checkpoint:
        for tensor in checkpoint.tensors.values():
            tensor.read_rows(0, tensor.shape[0])
            tensor.release()
        assert len(list(fds.iterdir())) <= before + 1


def test_single_file_of_any_name(tmp_path):
    write_zip(tmp_path / "mine.pth", torch_records(TENSORS), "archive")
    with pytest.raises(CheckpointError, match=r"params\.json: no such file"):
        open_checkpoint(tmp_path / "mine.pth")
    write_json(tmp_path / "other.json", {"dim": 1})
    with open_checkpoint(tmp_path / "mine.pth", param_path=tmp_path / "other.json") as checkpoint:
        assert checkpoint.config == {"dim": 1}
        check_tensors(checkpoint, TENSORS, "f16")


def test_record_beyond_four_gigabytes(tmp_path):
    """A sparse file whose zip directory needs 64-bit offsets."""
    write_json(tmp_path / "params.json", {"dim": 2})
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    records = torch_records({"a": values})
    with zipfile.ZipFile(tmp_path / "consolidated.00.pth", "w") as archive:
        archive.writestr("archive/data.pkl", records["data.pkl"])
        archive.start_dir = 2**32 + 4096  # where the next record goes
        archive.writestr("archive/data/0", records["data/0"])
    assert (tmp_path / "consolidated.00.pth").stat().st_size > 2**32
    with open_checkpoint(tmp_path) as checkpoint:
        check_tensors(checkpoint, {"a": values}, "f16")


def test_offset_into_a_shared_storage(tmp_path):
    write_json(tmp_path / "params.json", {})
    values = np.arange(12, dtype=np.float32)
    pickled = {
        "whole": pickled_tensor("0", "f32", (12,)),
        "part": pickled_tensor("0", "f32", (2, 3), offset=4, numel=12),
    }
    records = {"data.pkl": pickled_dict(pickled), "data/0": stored(values, "f32")}
    write_zip(tmp_path / "consolidated.00.pth", records)
    with open_checkpoint(tmp_path) as checkpoint:
        expected = {"whole": values, "part": values[4:10].reshape(2, 3)}
        check_tensors(checkpoint, expected, "f32")


def _open_pickle(folder, pickle_bytes, data=bytes(12), **records):
    write_json(folder / "params.json", {"dim": 2})
    everything = {"data.pkl": pickle_bytes, "data/0": data} | records
    write_zip(folder / "consolidated.00.pth", everything)
    return open_checkpoint(folder)


class _Command:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_is_executed(tmp_path, protocol):
    target = tmp_path / "executed"
    with pytest.raises(CheckpointError, match=r"asks for \w+\.system.*refused"):
        _open_pickle(tmp_path, pickle.dumps({"a": _Command(target)}, protocol))
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("builtins.eval", b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."),
        ("builtins.getattr", b"\x80\x02cbuiltins\ngetattr\n."),
        ("torch._utils._rebuild_tensor", b"\x80\x02ctorch._utils\n_rebuild_tensor\n."),
        ("torch.load", b"\x80\x02ctorch\nload\n."),
        ("torch.ComplexFloatStorage", b"\x80\x02ctorch\nComplexFloatStorage\n."),
        ("collections.Counter", b"\x80\x02ccollections\nCounter\n."),
        ("posix.system", b"\x80\x04\x8c\x05posix\x8c\x06system\x93."),
        ("opcode 0x69", b"\x80\x02(iposix\nsystem\n."),
        ("opcode 0x6f", b"\x80\x02(ccollections\nOrderedDict\no."),
        ("opcode 0x81", b"\x80\x02ccollections\nOrderedDict\n)\x81."),
        ("opcode 0x82", b"\x80\x02\x82\x01."),
        ("opcode 0x50", b"\x80\x02P1\n."),
    ],
)
def test_other_globals_are_named(tmp_path, name, text):
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        _open_pickle(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "ends at byte 0"),
        (b"\x80\x02}", "ends at byte 3"),
        (b"\x80\x02.", "stack is empty"),
        (b"\x80\x07}.", "protocol 7"),
        (b"\x80\x02].", "expected a dictionary of tensors, got list"),
        (b"\x80\x02K\x01.", "got int"),
        (b"\x80\x02ctorch\nHalfStorage\n.", "got the global torch.HalfStorage"),
        (b"\x80\x02}u.", "mark is missing"),
        (b"\x80\x02}h\x05.", "memo 5 is not set"),
        (b"\x80\x02}j\xff\xff\xff\x7f.", "is not set"),
        (b"\x80\x02}(NNu.", "key is neither"),
        (b"\x80\x02}(K\x01u.", "assignment to something else"),
        (b"\x80\x02}NNb.", "attributes set on something else"),
        (b"\x80\x02X\xff\xff\xff\xff.", "ends at byte"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"\x80\x02" + b"(" * 1_100_000, "too many marks"),
        (b"\x80\x02" + b"N" * 1_100_000, "too many items"),
        (b"\x80\x02)" + b"\x85" * 300_000 + b".", "got tuple"),
        (b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"Ns.", "key is neither"),
        (b"\x80\x02NQ.", "names no storage"),
        (b"\x80\x02ctorch\nHalfStorage\n)R.", "a call of torch.HalfStorage"),
        (pickled_dict({"a": b"N"}), "entry 'a' is NoneType"),
        (pickled_dict({"model": b"}", "optimizer": b"}"}), "training checkpoint"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (6,)), "b": b"K\x01"}), "entry 'b' is int"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (-1, 6), numel=6)}), "no tuple of sizes"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (6,), offset=-1)}), "do not fit"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (2, 3), strides=[3])}), "do not fit"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (6,), offset=3)}), "needs 6 values from 3"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (3, 2), strides=[1, 3])}), "strides"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (7,))}), "needs 14 bytes"),
        (pickled_dict({"a": pickled_tensor("0", "f16", (3,))}), "needs 6 bytes"),
        (
            pickled_dict({"a": pickled_tensor("0", "f16", (2**64, 2), numel=6)}),
            "no tuple of sizes",
        ),
        (
            pickled_dict({"a": pickled_tensor("0", "f16", (2**62, 2**62), numel=6)}),
            "its storage has",
        ),
        (pickled_dict({"a": pickled_tensor("0", "f16", (0, 2))}), "it is empty"),
        (pickled_dict({"a": pickled_tensor("9", "f16", (6,))}), "'data/9' is missing"),
        (pickled_dict({"a": pickled_tensor("../x", "f16", (6,))}), "is missing"),
        (
            pickled_dict({"a": pickled_tensor("0", "f16", (6,), storage="LongStorage")}),
            "tensor 'a' is a LongStorage",
        ),
    ],
)
def test_damaged_pickle(tmp_path, text, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        _open_pickle(tmp_path, text)
    assert "consolidated.00.pth" in str(caught.value) and "\n" not in str(caught.value)


def test_big_endian(tmp_path):
    text = pickled_dict({"a": pickled_tensor("0", "f16", (6,))})
    with pytest.raises(CheckpointError, match="byte order b'big'"):
        _open_pickle(tmp_path, text, byteorder=b"big")


def test_path_out_of_an_unzipped_folder(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(12))
    records = {"data.pkl": pickled_dict({"a": pickled_tensor("../../../secret", "f16", (6,))})}
    write_folder(tmp_path / "m" / "consolidated.00", records)
    write_json(tmp_path / "m" / "params.json", {})
    with pytest.raises(CheckpointError, match="is no record of a PyTorch file"):
        open_checkpoint(tmp_path / "m")


def test_compressed_zip(tmp_path):
    write_meta(tmp_path, TENSORS)
    write_zip(
        tmp_path / "consolidated.00.pth",
        torch_records(TENSORS),
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(CheckpointError, match="is compressed"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"PK", "not a zip archive"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch before 1.6"),
        (b"PK\x03\x04" + bytes(100), "zip directory"),
    ],
)
def test_no_zip(tmp_path, data, message):
    write_meta(tmp_path, TENSORS)
    (tmp_path / "consolidated.00.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("tops", [[], ["a", "b"]])
def test_zip_without_one_pickle(tmp_path, tops):
    write_json(tmp_path / "params.json", {})
    with zipfile.ZipFile(tmp_path / "consolidated.00.pth", "w") as archive:
        archive.writestr("x/version", b"3")
        for top in tops:
            archive.writestr(f"{top}/data.pkl", b"\x80\x02}.")
    with pytest.raises(CheckpointError, match=r"data\.pkl records in it, expected one"):
        open_checkpoint(tmp_path)


def test_wrong_checksum_of_the_pickle(tmp_path):
    write_meta(tmp_path, TENSORS)
    path = tmp_path / "consolidated.00.pth"
    path.write_bytes(path.read_bytes().replace(b"tok_embeddings", b"tok_embeddinGs"))
    with pytest.raises(CheckpointError, match=r"checksum of record 'data\.pkl'"):
        open_checkpoint(tmp_path)


def test_missing_shard(tmp_path):
    write_meta(tmp_path, TENSORS, shards=4)
    (tmp_path / "consolidated.01.pth").unlink()
    with pytest.raises(CheckpointError, match=r"consolidated\.01 is missing"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"consolidated\.01 is missing"):
        open_checkpoint(tmp_path / "consolidated.00.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda part: part.pop("norm.weight"), "'norm.weight' is in only one of it"),
        (lambda part: part.update(extra=np.zeros(2)), "'extra' is in only one"),
        (lambda part: part.update({"norm.weight": np.zeros(3)}), r"is f16 \(3,\), in"),
    ],
)
def test_shards_that_differ(tmp_path, change, message):
    write_meta(tmp_path, TENSORS, shards=2)
    part = split(TENSORS, 2, 0)[1]
    change(part)
    write_zip(tmp_path / "consolidated.01.pth", torch_records(part))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_shards_that_cannot_be_joined(tmp_path):
    write_meta(tmp_path, TENSORS, shards=2)
    write_json(tmp_path / "params.json", {"dim": 4096})
    with pytest.raises(CheckpointError, match="make no width of 4096"):
        open_checkpoint(tmp_path)
    unknown = {"adapter.weight": np.zeros((2, 2))}
    for i in range(2):
        write_zip(tmp_path / f"consolidated.{i:02}.pth", torch_records(unknown))
    with pytest.raises(CheckpointError, match="unknown how its 2 shards are"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", json.dumps("x"), '{"dim": NaN}'])
def test_damaged_params(tmp_path, text):
    write_meta(tmp_path, TENSORS)
    (tmp_path / "params.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"params\.json"):
        open_checkpoint(tmp_path)
