"""Small checkpoint files of every format, written without PyTorch."""

import json
import math
import struct
import zipfile
from pathlib import Path

import numpy as np

STORAGES = {"f16": "HalfStorage", "bf16": "BFloat16Storage", "f32": "FloatStorage"}
CONFIG = {
    "dim": 16,
    "hidden_dim": 24,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 20,
    "max_seq_len": 8,
}


def stored(values, dtype):
    """The bytes of float32 values in a file's dtype; bf16 cuts the lower half off."""
    values = np.ascontiguousarray(values, np.float32)
    if dtype == "bf16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"f16": "<f2", "f32": "<f4"}[dtype]).tobytes()


def rounded(values, dtype):
    """The float32 values that `stored` keeps."""
    values = np.ascontiguousarray(values, np.float32)
    if dtype == "bf16":
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return values.astype(np.float16 if dtype == "f16" else np.float32).astype(np.float32)


def meta_tensors(config=CONFIG, *, tied=False, seed=0):
    """Random float32 tensors under Meta's names."""
    rng = np.random.default_rng(seed)
    D, F, V = config["dim"], config["hidden_dim"], config["vocab_size"]
    kv = D // config["n_heads"] * config["n_kv_heads"]
    shapes = {"tok_embeddings": (V, D), "norm": (D,)}
    if not tied:
        shapes["output"] = (V, D)
    for i in range(config["n_layers"]):
        shapes |= {
            f"layers.{i}.attention_norm": (D,),
            f"layers.{i}.ffn_norm": (D,),
            f"layers.{i}.attention.wq": (D, D),
            f"layers.{i}.attention.wk": (kv, D),
            f"layers.{i}.attention.wv": (kv, D),
            f"layers.{i}.attention.wo": (D, D),
            f"layers.{i}.feed_forward.w1": (F, D),
            f"layers.{i}.feed_forward.w2": (D, F),
            f"layers.{i}.feed_forward.w3": (F, D),
        }
    return {
        f"{name}.weight": rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")


# safetensors


def safetensors_bytes(tensors, dtype="f16", header=None):
    """A safetensors file; `header` replaces the JSON that describes it."""
    entries, blocks, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, values in tensors.items():
        block = stored(values, dtype)
        entries[name] = {
            "dtype": dtype.upper(),
            "shape": list(values.shape),
            "data_offsets": [offset, offset + len(block)],
        }
        blocks.append(block)
        offset += len(block)
    text = json.dumps(entries if header is None else header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(blocks)


def write_hf(folder, tensors, dtype="f16", shards=1):
    """A Hugging Face folder, split over files with an index where `shards` is above 1."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {"model_type": "llama"})
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors_bytes(tensors, dtype))
        return folder
    weight_map = {}
    for i in range(shards):
        name = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[i::shards])
        (folder / name).write_bytes(safetensors_bytes(part, dtype))
        weight_map |= dict.fromkeys(part, name)
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    return folder


# PyTorch


def _text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _integer(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x20" + value.to_bytes(32, "little", signed=True)


def _integers(values):
    return b"(" + b"".join(_integer(value) for value in values) + b"t"


def _strides(shape):
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def pickled_storage(key, dtype, numel, storage=None):
    kind = storage or STORAGES[dtype]
    return (
        b"("
        + _text("storage")
        + f"ctorch\n{kind}\n".encode()
        + _text(key)
        + _text("cpu")
        + _integer(numel)
        + b"tQ"
    )


def pickled_tensor(key, dtype, shape, *, offset=0, strides=None, numel=None, storage=None):
    numel = math.prod(shape) if numel is None else numel
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + pickled_storage(key, dtype, numel, storage)
        + _integer(offset)
        + _integers(shape)
        + _integers(_strides(shape) if strides is None else strides)
        + b"\x89ccollections\nOrderedDict\n)Rt"
        + b"R"
    )


def pickled_dict(items):
    """A pickle of a dictionary of already pickled values."""
    body = b"".join(_text(name) + value for name, value in items.items())
    return b"\x80\x02}q\x00(" + body + b"u."


def torch_records(tensors, dtype="f16"):
    """The records of a PyTorch file by name."""
    pickled = {
        name: pickled_tensor(str(i), dtype, values.shape)
        for i, (name, values) in enumerate(tensors.items())
    }
    records = {"data.pkl": pickled_dict(pickled), "byteorder": b"little"}
    for i, values in enumerate(tensors.values()):
        records[f"data/{i}"] = stored(values, dtype)
    return records


def write_zip(path, records, prefix="consolidated", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(f"{prefix}/{name}", data)


def write_folder(path, records):
    for name, data in records.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def split(tensors, count, embedding_axis):
    """The shards that Meta's model parallelism makes of whole tensors."""
    parts = [{} for _ in range(count)]
    for name, values in tensors.items():
        if values.ndim == 1:
            pieces = [values] * count
        elif name == "tok_embeddings.weight":
            pieces = np.split(values, count, axis=embedding_axis)
        else:
            pieces = np.split(values, count, axis=1 if ".wo." in name or ".w2." in name else 0)
        for part, piece in zip(parts, pieces, strict=True):
            part[name] = np.ascontiguousarray(piece)
    return parts


def write_meta(folder, tensors, dtype="f16", shards=1, embedding_axis=0, unzipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    params = {key: CONFIG[key] for key in ("dim", "n_layers", "n_heads", "n_kv_heads")}
    write_json(folder / "params.json", params | {"vocab_size": -1, "norm_eps": 1e-5})
    for i, part in enumerate(split(tensors, shards, embedding_axis)):
        if unzipped:
            write_folder(folder / f"consolidated.{i:02}", torch_records(part, dtype))
        else:
            write_zip(folder / f"consolidated.{i:02}.pth", torch_records(part, dtype))
    return folder


# llama2.c


def llama2c_bytes(tensors, version=0, config=CONFIG, flags=None, group=8):
    """A llama2.c file, legacy (version 0) or with a header of `version`; 2 is in groups of int8."""
    tied = "output.weight" not in tensors
    numbers = [config[key] for key in CONFIG]
    layers = range(config["n_layers"])

    def layered(*kinds):
        return [tensors[f"layers.{i}.{kind}.weight"] for kind in kinds for i in layers]

    attention = ("attention.wq", "attention.wk", "attention.wv", "attention.wo")
    forward = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")
    if version == 0:
        numbers[5] *= 1 if tied else -1
        header = struct.pack("<7i", *numbers)
        tables = np.zeros(config["max_seq_len"] * config["dim"] // config["n_heads"], np.float32)
        pieces = [
            tensors["tok_embeddings.weight"],
            *layered("attention_norm", *attention, "ffn_norm", *forward),
            tensors["norm.weight"],
            tables,
        ]
    else:
        flag = int(tied) if flags is None else flags
        header = struct.pack("<Ii7iB", 0x616B3432, version, *numbers, flag)
        header += struct.pack("<i", group) if version == 2 else b""
        header = header.ljust(256, b"\0")
        pieces = [
            *layered("attention_norm", "ffn_norm"),
            tensors["norm.weight"],
            tensors["tok_embeddings.weight"],
            *layered(*attention, *forward),
        ]
    if not tied:
        pieces.append(tensors["output.weight"])
    in_groups = version == 2
    return header + b"".join(
        _grouped_bytes(piece, group) if in_groups and piece.ndim == 2 else stored(piece, "f32")
        for piece in pieces
    )


def int8_groups(values, group):
    """int8 [n, group] and float32 scales [n]: the greatest value of each group becomes 127."""
    groups = np.asarray(values, np.float32).reshape(-1, group)
    scales = np.abs(groups).max(axis=1) / np.float32(127)
    return np.rint(groups / scales[:, None]).astype(np.int8), scales


def _grouped_bytes(values, group):
    q, scales = int8_groups(values, group)
    return q.tobytes() + stored(scales, "f32")


def write_llama2c(path: Path, tensors, version=0):
    path.write_bytes(llama2c_bytes(tensors, version))
    return path


def check_tensors(checkpoint, expected, dtype):
    """Every tensor has the expected name, shape and values, whole and by rows."""
    assert sorted(checkpoint.tensors) == sorted(expected)
    for name, values in expected.items():
        tensor = checkpoint.tensors[name]
        rows = values.shape[0]
        assert (tensor.name, tensor.shape, tensor.format) == (name, values.shape, dtype)
        assert tensor.nbytes == values.size * (4 if dtype == "f32" else 2)
        want = rounded(values, dtype)
        for start, stop in ((0, rows), (1, rows - 1), (rows // 2, rows // 2 + 1), (rows, rows)):
            got = tensor.read_rows(start, stop)
            assert got.dtype == (np.float16 if dtype == "f16" else np.float32)
            assert got.flags.c_contiguous and got.flags.aligned
            np.testing.assert_array_equal(got.astype(np.float32), want[start:stop], name)
            stored = tensor.stored_rows(start, stop)
            if dtype == "bf16":
                assert stored.dtype == np.uint16
                stored = (stored.astype(np.uint32) << 16).view(np.float32)
            np.testing.assert_array_equal(stored.astype(np.float32), want[start:stop], name)
        del got, stored
        tensor.release()
        np.testing.assert_array_equal(tensor.read_rows(0, rows).astype(np.float32), want, name)
