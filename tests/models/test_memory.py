"""Memory plans, their messages, and models whose matrices exceed a device's largest allocation."""

import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import DeviceMemoryError, RequestError
from cl_llama.models import memory
from cl_llama.models.batch import STEP_TOKENS
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.memory import (
    blocks_scratch_bytes,
    plan_memory,
    scratch_bytes,
    weight_bytes,
)
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.rope import RopeConfig
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Family, Runtime
from tests import reference
from tests.models import fixture_models
from tests.models.fixture_models import slice_of

# TinyLlama 1.1B's sizes.
CONFIG = ModelConfig(
    architecture="llama",
    vocab_size=32000,
    d_model=2048,
    n_layers=22,
    n_heads=32,
    n_kv_heads=4,
    head_dim=64,
    d_ff=5632,
    norm_eps=1e-5,
    max_seq_len=2048,
    rope=RopeConfig(10000.0, "half"),
    tied_embeddings=False,
    qkv_bias=False,
    o_bias=False,
    mlp_bias=False,
    qk_norm=False,
    windows=(None,) * 22,
    bos_id=1,
    eos_ids=(2,),
)
LAYER_BLOCK_BYTES = 4 * 64 * 32 * 2  # G * K * BLOCK halves, of keys or of values
BLOCK_BYTES = 2 * 22 * LAYER_BLOCK_BYTES


def gpu(global_mem_bytes: int, max_alloc_bytes: int = 1 << 40) -> DeviceInfo:
    return DeviceInfo(
        index=3,
        platform="Acme",
        name="GPU",
        type="gpu",
        vendor="",
        driver="",
        version="OpenCL 1.2",
        platform_version="OpenCL 1.2",
        global_mem_bytes=global_mem_bytes,
        max_alloc_bytes=max_alloc_bytes,
        compute_units=8,
        fp16=False,
        subgroups=False,
        unified_memory=False,
        is_default=True,
        handle=None,
    )


def gpu_with_blocks(blocks: float) -> DeviceInfo:
    """One that has room for so many blocks of the cache beside the weights and scratch space."""
    needed = weight_bytes(CONFIG) + scratch_bytes(CONFIG, 0) + blocks * BLOCK_BYTES
    return gpu(int(needed / memory._SHARE) + 1)


def test_weight_bytes_by_hand() -> None:
    assert weight_bytes(CONFIG) == 2 * 1_100_048_384 + 2 * 45 * 2048  # norms are f32
    tied = replace(CONFIG, tied_embeddings=True)
    assert weight_bytes(CONFIG) - weight_bytes(tied) == 2 * 32000 * 2048


def test_weight_bytes_are_those_of_the_fixtures() -> None:
    for name in fixture_models.NAMES:
        with open_checkpoint(fixture_models.FIXTURES / name) as checkpoint:
            config = config_from_checkpoint(checkpoint)
            weights = reference.load_weights(config, checkpoint)
        top = set(vars(weights)) - {"layers"} - ({"output"} if config.tied_embeddings else set())
        arrays = [getattr(weights, name) for name in top]
        for layer in weights.layers:
            arrays += [a for a in vars(layer).values() if a is not None]
        expected = sum(a.size * (2 if a.ndim == 2 else 4) for a in arrays)
        assert weight_bytes(config) == expected, name


def test_whole_context_fits() -> None:
    plan = plan_memory(CONFIG, gpu(8 << 30), None)
    assert plan.num_blocks == 2048 // ops.BLOCK
    assert plan.cache_bytes == plan.num_blocks * BLOCK_BYTES
    assert plan.total_bytes == plan.weight_bytes + plan.scratch_bytes + plan.cache_bytes
    assert plan_memory(CONFIG, gpu(8 << 30), 33).num_blocks == 2
    assert plan_memory(CONFIG, gpu(8 << 30), 4096).num_blocks == 128


def test_a_cache_for_several_texts():
    shared = plan_memory(CONFIG, gpu(8 << 30), 64, cache_tokens=1000)
    assert (shared.num_blocks, shared.text_tokens) == (32, 64)
    assert plan_memory(CONFIG, gpu(8 << 30), 4096, cache_tokens=1000).num_blocks == 128
    little = plan_memory(CONFIG, gpu_with_blocks(10), 64, cache_tokens=1000)
    assert (little.num_blocks, little.text_tokens) == (10, 64)
    assert plan_memory(CONFIG, gpu_with_blocks(10), None, cache_tokens=9000).text_tokens == 320


def test_a_cache_in_q8_0_holds_more() -> None:
    """Bytes and a scale of two for every 32, in the place of halves."""
    plan = plan_memory(CONFIG, gpu_with_blocks(17), None, "q8_0")
    assert plan.cache_bytes_per_block == BLOCK_BYTES * 34 // 64
    assert plan.num_blocks == 17 * 64 // 34


def test_scratch_of_matrices_in_blocks(device: DeviceInfo) -> None:
    """Halves that matrix units take, 64 MiB or the largest matrix; records of 13 bits on CPUs."""
    shapes = {"a": (32000, 2048), "b": (5632, 2048), "c": (64000, 2048)}
    matrices = {name: SimpleNamespace(shape=shape) for name, shape in shapes.items()}
    formats = {"a": "q8_0", "b": "q4_0", "c": "f16"}
    runtime = Runtime(device, matrix_units=False)

    def scratch(formats: dict[str, str], family: Family, precision: ops.Precision | None) -> int:
        return blocks_scratch_bytes(formats, matrices, runtime, family, precision)

    assert scratch(formats, "portable", None) == 0
    assert scratch(formats, "cpu", None) == (STEP_TOKENS * 2048 // 128 + 5) * 320
    assert scratch(formats, "cpu", "high") == 0
    runtime.matrix_unit = "mma"
    assert scratch(formats, "portable", None) == 64 << 20
    assert scratch(formats | {"a": "f16"}, "portable", "fast") == 5632 * 2048 * 2
    assert scratch(formats, "portable", "high") == 0
    assert scratch(dict.fromkeys(formats, "f16"), "portable", "fast") == 0
    plan = plan_memory(CONFIG, gpu(8 << 30), None, blocks_scratch_bytes=64 << 20)
    assert plan.scratch_bytes == scratch_bytes(CONFIG, 0) + (64 << 20)
    runtime.close()


def test_own_length_is_cut_to_what_fits() -> None:
    assert plan_memory(CONFIG, gpu_with_blocks(10.5), None).num_blocks == 10
    assert plan_memory(CONFIG, gpu_with_blocks(1), None).num_blocks == 1


def test_one_buffer_of_the_cache_is_cut_to_the_largest_allocation() -> None:
    device = gpu(8 << 30, max_alloc_bytes=7 * LAYER_BLOCK_BYTES + 5)
    assert plan_memory(CONFIG, device, None).num_blocks == 7
    with pytest.raises(DeviceMemoryError, match="--max-seq-len 224 would fit"):
        plan_memory(CONFIG, device, 225)


def test_message_names_the_length_that_fits() -> None:
    device = gpu_with_blocks(10.5)
    with pytest.raises(DeviceMemoryError) as caught:
        plan_memory(CONFIG, device, 2000)
    text = str(caught.value)
    assert re.fullmatch(
        r"3 Acme: GPU: the model needs 2\.\d\d GiB \(weights 2\.05 GiB, cache for 2016 tokens "
        r"0\.04 GiB, scratch 0\.\d\d GiB\), 2\.\d\d GiB are available, 0\.0\d GiB are missing; "
        r"--max-seq-len 320 would fit",
        text,
    ), text
    assert plan_memory(CONFIG, device, 320).num_blocks == 10


def test_message_where_no_length_fits() -> None:
    expected = r"missing; no context length would fit; choose another device or a smaller model$"
    for wanted in (None, 1):
        with pytest.raises(DeviceMemoryError, match=expected):
            plan_memory(CONFIG, gpu(1 << 30), wanted)


def test_length_below_one() -> None:
    with pytest.raises(RequestError, match="max_seq_len must be at least 1, got 0"):
        plan_memory(CONFIG, gpu(8 << 30), 0)


def test_a_cpu_has_what_its_host_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = replace(gpu(1 << 40), type="cpu")
    monkeypatch.setattr(memory, "available_host_memory_bytes", lambda: 1 << 30)
    with pytest.raises(DeviceMemoryError, match=r"0\.95 GiB are available"):
        plan_memory(CONFIG, cpu, None)
    monkeypatch.setattr(memory, "available_host_memory_bytes", lambda: 0)  # unknown
    assert plan_memory(CONFIG, cpu, None).num_blocks == 64


@pytest.fixture
def small_runtime(device: DeviceInfo) -> Iterator[Runtime]:
    """A device said to allocate 15,000 bytes at once."""
    runtime = Runtime(replace(device, max_alloc_bytes=15_000))
    yield runtime
    runtime.close()


def test_matrices_split_by_rows(small_runtime: Runtime) -> None:
    """The same logits from an embedding and an output matrix in two buffers each."""
    name = "meta-llama31"
    known = fixture_models.truth(name)
    model = fixture_models.load(name, small_runtime, max_seq_len=96)
    assert [len(w.segments) for w in (model._weights.embedding, model._weights.output)] == [2, 2]
    ids = np.concatenate([known.ids, known.greedy[:-1]])
    table = np.arange(model.num_blocks, dtype=np.int32)
    rows = [  # in chunks whose activations fit into such buffers
        fixture_models.forward(model, slice_of(ids[start : start + 16], start, table, "all"))
        for start in range(0, len(ids), 16)
    ]
    logits = np.concatenate(rows)
    assert reference.relative_rms(logits, known.logits) <= 5e-5
    np.testing.assert_array_equal(np.argmax(logits, axis=1), known.best_ids)


def test_a_buffer_beyond_the_largest_allocation(small_runtime: Runtime) -> None:
    with pytest.raises(DeviceMemoryError, match=r"15,001 bytes is asked for, at most 15,000"):
        small_runtime.allocate(15_001)
