"""Models whose weights are in blocks, from a file or quantised as they are loaded."""

import numpy as np
import pytest

from cl_llama.blocks import FORMATS
from cl_llama.checkpoints import open_checkpoint
from cl_llama.convert.model import convert_model
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.quantization import QUANTIZATIONS
from cl_llama.models.rehearsal import kernels_of
from cl_llama.models.weights import map_tensors
from cl_llama.opencl.runtime import Runtime
from tests import reference
from tests.checkpoints.checkpoint_files import int8_groups, llama2c_bytes, meta_tensors
from tests.models.block_models import LIMITS, device_logits, expected_logits
from tools.make_block_models import write_block_model

CONFIG = {
    "dim": 256,
    "hidden_dim": 288,  # q4_k has other formats for rows of this
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 90,
    "max_seq_len": 64,
}


def rehearsed_programs(path, runtime, precision):
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
        formats = {tensor.name: tensor.format for tensor in tensors.matrices()}
        return set(kernels_of(config, tensors, runtime, None, precision, formats=formats))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(device_infos, tmp_path, form):
    """On one device; tests of single products run on all of them."""
    if not device_infos:
        pytest.skip("no OpenCL device")
    runtime = Runtime(device_infos[0])
    path = tmp_path / "model.gguf"
    write_block_model(path, form)
    expected = expected_logits(path)
    rehearsed = set()
    for precision, limit in LIMITS.items():
        found = device_logits(path, runtime, precision=precision)
        assert reference.relative_rms(found, expected) <= limit, precision
        rehearsed |= rehearsed_programs(path, runtime, precision)
    assert set(runtime._programs) <= rehearsed
    runtime.close()


@pytest.mark.parametrize("form", QUANTIZATIONS)
def test_quantised_at_load_as_in_a_file(device, tmp_path, form):
    tensors = meta_tensors(CONFIG)
    for values in tensors.values():
        if values.ndim == 2:
            values *= 0.04
        else:
            values[:] = 1 + 0.1 * values
    original, converted = tmp_path / "model.bin", tmp_path / "model.gguf"
    original.write_bytes(llama2c_bytes(tensors, config=CONFIG))
    convert_model(original, converted, quantize=form)
    runtime = Runtime(device)
    at_load = device_logits(original, runtime, quantize=form)
    np.testing.assert_array_equal(at_load, device_logits(converted, runtime))
    # in blocks "fast" is the default
    assert reference.relative_rms(at_load, expected_logits(converted)) <= LIMITS["fast"]
    runtime.close()


def test_int8_groups_of_a_file(device, tmp_path):
    """Blocks whose scales are rounded to float16 are as near to the file as values rounded to it.

    Both are 3e-4 from it in this model, in float64.
    """
    tensors = meta_tensors(CONFIG)
    for values in tensors.values():
        values *= 0.04
    in_groups, in_floats = tmp_path / "groups.bin", tmp_path / "floats.bin"
    in_groups.write_bytes(llama2c_bytes(tensors, 2, CONFIG, group=32))
    for name, values in tensors.items():
        if values.ndim == 2:
            q, scales = int8_groups(values, 32)
            tensors[name] = (q * scales[:, None]).reshape(values.shape)
    in_floats.write_bytes(llama2c_bytes(tensors, 1, CONFIG))
    runtime = Runtime(device)
    for precision, limit in LIMITS.items():
        found = device_logits(in_groups, runtime, precision=precision)
        assert reference.relative_rms(found, expected_logits(in_groups)) <= limit, precision
        assert reference.relative_rms(found, expected_logits(in_floats)) <= limit + 8e-4, precision
    runtime.close()
