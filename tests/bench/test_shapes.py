"""Shapes have the sizes of the models they are named after."""

import pytest

from cl_llama.bench.costs import decode_cost, prefill_cost
from cl_llama.bench.shapes import SHAPES, find_shape
from cl_llama.errors import RequestError
from cl_llama.models.memory import weight_bytes

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
    cost = decode_cost(config, 3, 1000)
    assert cost.nbytes == weight_bytes(config) - table + 3 * 1001 * position
    matrices = (weight_bytes(config) - 4 * 45 * 2048) // 2 - 32000 * 2048
    assert cost.flops == 3 * (2 * matrices + 22 * 4 * 2048 * 1001)


def test_a_tied_table_is_read_whole() -> None:
    config = SHAPES["135m"].config()
    assert decode_cost(config, 1, 0).nbytes > weight_bytes(config)


def test_cost_of_a_prompt_is_that_of_its_tokens() -> None:
    config = SHAPES["1b"].config()
    tokens, depth = 5, 7
    output = 2 * 32000 * 2048
    expected = sum(decode_cost(config, 1, depth + i).flops - output for i in range(tokens))
    assert prefill_cost(config, tokens, depth).flops == expected + output


def test_which_limit_binds() -> None:
    config = SHAPES["1b"].config()
    for tokens, limit in ((1, "bandwidth"), (512, "fma")):
        cost = prefill_cost(config, tokens, 0)
        assert cost.bound_by(25e9, 350e9) == limit
        assert cost.seconds(25e9, 350e9) == max(cost.nbytes / 25e9, cost.flops / 350e9)


def test_a_window_bounds_what_is_read() -> None:
    from dataclasses import replace

    config = replace(SHAPES["1b"].config(), windows=(100,) * 22)
    assert decode_cost(config, 1, 5000) == decode_cost(config, 1, 99)
    assert decode_cost(config, 1, 98) != decode_cost(config, 1, 99)
