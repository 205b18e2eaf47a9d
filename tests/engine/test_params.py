import dataclasses
import math

import numpy as np
import pytest

from cl_llama.engine.params import SamplingParams
from cl_llama.errors import RequestError

NAN, INF = math.nan, math.inf

BAD = {
    "max_new_tokens": [-1, 1.5, "3", True, NAN],
    "temperature": [-0.1, NAN, INF, "1", None, True, 1j],
    "top_k": [-1, 2.0, None, "40"],
    "top_p": [-0.1, 1.1, NAN, None],
    "min_p": [-0.1, 1.1, INF, []],
    "typical_p": [-0.1, 1.1, NAN, None],
    "top_n_sigma": [-1, NAN, INF, "1"],
    "xtc_probability": [-0.1, 1.1, NAN, None],
    "xtc_threshold": [-0.1, 1.1, INF, "x"],
    "dynatemp_range": [-0.1, NAN, INF, None],
    "dynatemp_exponent": [-0.1, NAN, INF, None],
    "mirostat": [1, 3, -1, 2.0, None, True, "2"],
    "mirostat_tau": [-0.1, NAN, INF, None],
    "mirostat_eta": [-0.1, NAN, INF, None],
    "dry_multiplier": [-0.1, NAN, INF, None],
    "dry_base": [0.9, NAN, INF, None],
    "dry_allowed_length": [0, -1, 1.5, None],
    "dry_penalty_last_n": [-2, 1.5, None],
    "dry_sequence_breakers": [("a", ""), "", 3, (b"a",), [None]],
    "repetition_penalty": [0, -1, 1e-300, 101, NAN],
    "presence_penalty": [-2.1, 2.1, NAN, None],
    "frequency_penalty": [-2.1, 2.1, INF, "x"],
    "logit_bias": [{1: NAN}, {-1: 0.0}, {"1": 0.0}, {1: "x"}, 3, [1]],
    "seed": [1.0, -(2**63) - 1, 2**64, "7", True],
    "stop": [("a", ""), "", 3, (b"a",), b"a", [None]],
    "stop_token_ids": [(-1,), 2, "ab", (1.0,), [None]],
    "logprobs": [-1, 1.0, True],
    "logits": [1, 0, "yes", None],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, bad in BAD.items() for v in bad])
def test_a_bad_value_is_named_with_what_is_allowed(name: str, value: object):
    with pytest.raises(RequestError) as caught:
        SamplingParams(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"SamplingParams: {name} must be ")
    assert message.endswith(f", got {value!r}")
    assert "\n" not in message


def test_every_field_is_checked():
    assert {field.name for field in dataclasses.fields(SamplingParams)} == set(BAD)


def test_values_become_plain_types():
    params = SamplingParams(
        max_new_tokens=np.int64(3),
        temperature=np.float32(0.5),
        top_p=1,
        logit_bias={np.int32(4): np.float32(2)},
        seed=-1,
        stop="end",
        stop_token_ids=[np.int64(7), 8],
    )
    assert type(params.max_new_tokens) is int
    assert type(params.temperature) is float
    assert type(params.top_p) is float
    assert params.logit_bias == {4: 2.0}
    assert params.stop == ("end",)
    assert params.stop_token_ids == (7, 8)
    assert SamplingParams(stop=["a", "b"]).stop == ("a", "b")
    assert SamplingParams(stop=None, logit_bias=None) == SamplingParams()


def test_params_are_values():
    params = SamplingParams(seed=3, logit_bias={1: 2.0})
    assert dataclasses.replace(params, temperature=0.0).seed == 3
    assert hash(params) == hash(dataclasses.replace(params))
    assert dataclasses.asdict(params)["logit_bias"] == {1: 2.0}
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.seed = 4
