"""Random models: the same on every device, whole or in segments, and finite in depth."""

from dataclasses import replace

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.bench.random_weights import RandomBlocks, RandomMatrix, random_tensors
from cl_llama.bench.shapes import Shape
from cl_llama.models.batch import Batch, SequenceSlice
from cl_llama.models.loading import load_model
from cl_llama.opencl.runtime import Runtime


def test_a_matrix_is_what_the_host_reads(runtime: Runtime, monkeypatch) -> None:
    tensor = RandomMatrix("a matrix", (50, 24), "f16")
    for limit in (1 << 20, 20 * 48):
        monkeypatch.setattr(runtime, "device", replace(runtime.device, max_alloc_bytes=limit))
        weight = ops.upload_matrix(runtime, tensor)
        assert len(weight.segments) == (1 if limit > 50 * 48 else 3)
        for segment in weight.segments:
            rows = np.empty((segment.rows, 24), np.float16)
            runtime.read((segment.buffer, rows))
            first = segment.first_row
            np.testing.assert_array_equal(rows, tensor.read_rows(first, first + segment.rows))


def test_rows_of_blocks_are_the_same_however_they_are_read() -> None:
    tensor = RandomBlocks("a matrix", (5000, 64), "q8_0")
    whole = tensor.read_blocks(0, 5000)
    assert whole.shape == (5000, 68)
    np.testing.assert_array_equal(tensor.read_blocks(4100, 4130), whole[4100:4130])
    assert len(np.unique(whole[:4099], axis=0)) == 4099
    values = tensor.read_rows(0, 100)
    assert 0.019 < values.std() < 0.021
    assert not np.array_equal(RandomBlocks("b", (1, 64), "q8_0").read_blocks(0, 1), whole[:1])


@pytest.mark.parametrize(("quantize", "kv_type"), [(None, "f16"), ("q4_k", "q8_0")])
def test_activations_stay_finite(
    runtime: Runtime, quantize: str | None, kv_type: ops.KVType
) -> None:
    config = Shape("a deep one", 256, 8, 4, 2, 256, 128).config(64)
    tensors = random_tensors(config, quantize)
    model = load_model(config, tensors, runtime, max_seq_len=64, kv_type=kv_type)
    ids, table = np.arange(20, dtype=np.int32), np.arange(2, dtype=np.int32)
    logits = model.forward(Batch((SequenceSlice(ids, 0, table, "all"),))).numpy()
    assert np.isfinite(logits).all()
    assert logits.std() > 0.01
