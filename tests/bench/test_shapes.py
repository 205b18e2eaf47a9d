"""Shapes have the sizes of the models they are named after."""

from dataclasses import replace
from pathlib import Path

import pytest

from cl_llama.bench.costs import ModelCosts, model_costs
from cl_llama.bench.random_weights import random_tensors
from cl_llama.bench.shapes import SHAPES, find_shape
from cl_llama.checkpoints import open_checkpoint
from cl_llama.convert.model import convert_model
from cl_llama.errors import RequestError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.models.memory import weight_bytes
from cl_llama.models.model_config import ModelConfig
from cl_llama.models.quantization import formats_on_device
from cl_llama.models.weights import map_tensors
from cl_llama.ops import KVType

FIXTURES = Path(__file__).parents[1] / "fixtures"

# As the models' own pages count them.
PARAMETERS = {
    "135m": 134_515_008,
    "1b": 1_100_048_384,
    "3b": 3_212_749_824,
    "7b": 6_738_415_616,
    "8b": 8_030_261_248,
    "13b": 13_015_864_320,
    "70b": 70_553_706_496,
}


def costs(config: ModelConfig, quantize: str | None = None, kv_type: KVType = "f16") -> ModelCosts:
    tensors = random_tensors(config, quantize)
    matrices = {tensor.name: tensor for tensor in tensors.matrices()}
    return model_costs(config, tensors, formats_on_device(tensors, matrices, None), kv_type)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters(name: str) -> None:
    config = SHAPES[name].config()
    norms = (2 * config.n_layers + 1) * config.d_model  # in float32
    assert weight_bytes(config) == 2 * PARAMETERS[name] + 2 * norms


def test_names() -> None:
    assert find_shape("7B") is SHAPES["7b"]
    with pytest.raises(RequestError, match="--shape: there is no '6b'; there is 135m, 1b, "):
        find_shape("6b")


def test_cost_of_a_decode_step() -> None:
    config = SHAPES["1b"].config()
    table = 2 * 32000 * 2048
    position = 22 * 2 * 4 * 64 * 2  # keys and values of all layers, in bytes
    cost = costs(config).decode(3, 1000)
    assert cost.nbytes == weight_bytes(config) - table + 3 * 1001 * position
    matrices = (weight_bytes(config) - 4 * 45 * 2048) // 2 - 32000 * 2048
    assert cost.flops == 3 * (2 * matrices + 22 * 4 * 2048 * 1001)


def test_a_tied_table_is_read_whole() -> None:
    config = SHAPES["135m"].config()
    assert costs(config).decode(1, 0).nbytes > weight_bytes(config)


def test_cost_of_a_prompt_is_that_of_its_tokens() -> None:
    config = SHAPES["1b"].config()
    tokens, depth = 5, 7
    output = 2 * 32000 * 2048
    of = costs(config)
    expected = sum(of.decode(1, depth + i).flops - output for i in range(tokens))
    assert of.prefill(tokens, depth).flops == expected + output


def test_which_limit_binds() -> None:
    config = SHAPES["1b"].config()
    for tokens, limit in ((1, "bandwidth"), (512, "fma")):
        cost = costs(config).prefill(tokens, 0)
        assert cost.bound_by(25e9, 350e9) == limit
        assert cost.seconds(25e9, 350e9) == max(cost.nbytes / 25e9, cost.flops / 350e9)


def test_a_window_bounds_what_is_read() -> None:
    config = replace(SHAPES["1b"].config(), windows=(100,) * 22)
    of = costs(config)
    assert of.decode(1, 5000) == of.decode(1, 99)
    assert of.decode(1, 98) != of.decode(1, 99)


@pytest.mark.parametrize(
    ("quantize", "layers", "output"),
    [("q8_0", 34 / 32, 34 / 32), ("q4_0", 18 / 32, 210 / 256)],
)
def test_blocks_are_read_as_they_lie(quantize: str, layers: float, output: float) -> None:
    config = SHAPES["1b"].config()
    matrices = 22 * (2048 * (2048 * 2 + 512) + 3 * 2048 * 5632)
    norms = 4 * 45 * 2048
    position = 22 * 2 * 4 * (64 + 2 * 2)  # a cache of Q8_0, two scales for 64 values
    cost = costs(config, quantize, "q8_0").decode(1, 99)
    expected = matrices * layers + 32000 * 2048 * output + norms + 100 * position
    assert cost.nbytes == expected
    assert cost.flops == costs(config).decode(1, 99).flops


def test_q4_k_mixes_formats() -> None:
    of = [costs(SHAPES["1b"].config(), quantize).weight_bytes for quantize in ("q4_0", "q4_k")]
    assert of[0] < of[1] < 1.2 * of[0]


def test_a_file_of_several_formats(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    convert_model(FIXTURES / "llama3-gqa", path, quantize="q4_k", with_tokenizer=False)
    with open_checkpoint(path) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        tensors = map_tensors(config, checkpoint)
        matrices = {tensor.name: tensor for tensor in tensors.matrices()}
        formats = formats_on_device(tensors, matrices, None)
        assert len(set(formats.values())) > 1
        read = [tensor for tensor in checkpoint.tensors.values() if tensor is not tensors.embedding]
        expected = sum(tensor.nbytes for tensor in read)
        assert model_costs(config, tensors, formats).weight_bytes == expected
