"""Random models: the same on every device, whole or in segments, and finite in depth."""

from dataclasses import replace

import numpy as np

from cl_llama import ops
from cl_llama.bench.random_weights import RandomMatrix, random_tensors
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


def test_activations_stay_finite(runtime: Runtime) -> None:
    config = Shape("a deep one", 64, 24, 4, 2, 96, 128).config(64)
    model = load_model(config, random_tensors(config), runtime, max_seq_len=64)
    ids, table = np.arange(20, dtype=np.int32), np.arange(2, dtype=np.int32)
    logits = model.forward(Batch((SequenceSlice(ids, 0, table, "all"),))).numpy()
    assert np.isfinite(logits).all()
    assert logits.std() > 0.01
