"""llaf's entry points against the float64 reference."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cl_llama import gpt2
from cl_llama.checkpoints import open_checkpoint
from cl_llama.errors import CheckpointError, RequestError
from cl_llama.models.config import config_from_checkpoint
from cl_llama.opencl.devices import DeviceInfo
from tests import reference
from tests.models import fixture_models
from tests.models.fixture_models import FIXTURES

NAMES = ["gpt2", "gpt2-untied"]


def arrays(name: str) -> dict[str, Any]:
    """A fixture's parameters in llaf's shapes."""
    with open_checkpoint(FIXTURES / name) as checkpoint:
        config = config_from_checkpoint(checkpoint)
        weights = reference.load_weights(config, checkpoint)
    H, K, P = config.n_heads, config.head_dim, config.max_seq_len

    def stack(get: Any) -> np.ndarray:
        return np.stack([get(layer) for layer in weights.layers]).astype(np.float32)

    def heads(layer: Any) -> np.ndarray:
        return np.stack([m.reshape(H, K, -1).swapaxes(1, 2) for m in (layer.q, layer.k, layer.v)])

    return {
        "tok_emb": weights.embedding.astype(np.float32),
        "pos_emb": weights.positions.astype(np.float32),
        "mask": np.triu(np.full((P, P), -np.inf, np.float32), 1),
        "gamma1s": stack(lambda w: w.attn_norm),
        "beta1s": stack(lambda w: w.attn_norm_bias),
        "gamma2s": stack(lambda w: w.ffn_norm),
        "beta2s": stack(lambda w: w.ffn_norm_bias),
        "w_ins": stack(heads),
        "b_ins": stack(lambda w: np.stack([w.q_bias, w.k_bias, w.v_bias]).reshape(3, H, K)),
        "w_outs": stack(lambda w: w.o.T.reshape(H, K, -1)),
        "b_outs": stack(lambda w: w.o_bias),
        "w1s": stack(lambda w: w.up.T),
        "b1s": stack(lambda w: w.up_bias),
        "w2s": stack(lambda w: w.down.T),
        "b2s": stack(lambda w: w.down_bias),
        "gamma": weights.final_norm.astype(np.float32),
        "beta": weights.final_norm_bias.astype(np.float32),
        "w": weights.output.T.astype(np.float32),
    }


@pytest.fixture(params=NAMES)
def params(request: pytest.FixtureRequest, device: DeviceInfo) -> Iterator[gpt2.Params]:
    with gpt2.init(*arrays(request.param).values(), device=device.index) as params:
        params.name = request.param
        yield params


def test_greedy_tokens_and_those_behind_the_window(params: gpt2.Params) -> None:
    """The prompt and 24 tokens fill the model's positions; then the context is cut."""
    known = fixture_models.truth(params.name)
    config = params.model.config
    got = gpt2.gen(known.ids, params, 24 + 6)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got[:64], np.concatenate([known.ids, known.greedy]))
    with open_checkpoint(FIXTURES / params.name) as checkpoint:
        weights = reference.load_weights(config, checkpoint)
    for n in range(64, 70):
        logits = reference.logits(config, weights, got[n - 64 : n])[-1:]
        if reference.top2_margins(logits)[0] > 1e-3:
            assert got[n] == reference.argmax(logits)[0], n
    np.testing.assert_array_equal(gpt2.gen(got[:66], params, 4), got)


def test_nothing_to_generate(params: gpt2.Params) -> None:
    np.testing.assert_array_equal(gpt2.gen([3, 1, 2], params, 0), [3, 1, 2])


def test_a_tied_projection_is_kept_once(params: gpt2.Params) -> None:
    assert params.model.config.tied_embeddings == (params.name == "gpt2")


@pytest.mark.parametrize(
    ("ids", "count", "message"),
    [
        ([], 1, "expected whole numbers"),
        ([[1]], 1, "has shape \\(1, 1\\)"),
        ([1.5], 1, "of float64"),
        ([3, 160], 1, "holds 160; expected ids from 0 to 159"),
        ([-1], 1, "holds -1"),
        ([1], -1, "count is -1"),
    ],
)
def test_what_gen_refuses(params: gpt2.Params, ids: Any, count: int, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        gpt2.gen(ids, params, count)


def test_closed(params: gpt2.Params) -> None:
    params.close()
    with pytest.raises(RequestError, match="closed"):
        gpt2.gen([1], params, 1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mask", lambda a: a.T, "expected the causal one"),
        ("mask", lambda a: a[:5, :5], r"mask has shape \(5, 5\)"),
        ("b1s", lambda a: a[:, :-1], r"b1s has shape \(2, 191\).*\[L, F\] = \(2, 192\)"),
        ("w", lambda a: a.T, r"w has shape \(160, 48\).*\[D, V\]"),
        ("w_ins", lambda a: a[0], r"w_ins has shape .*expected \[L, 3, H, D, K\]"),
        ("w_ins", lambda a: a[:, :, :2], "w_ins has 2 heads of width 16"),
        ("gamma", lambda a: a.astype(int), "gamma has shape .* of int64"),
    ],
)
def test_what_init_refuses(name: str, change: Any, message: str) -> None:
    given = arrays("gpt2")
    given[name] = change(given[name])
    with pytest.raises(RequestError, match=message):
        gpt2.init(**given)


def test_a_value_beyond_f16(device: DeviceInfo) -> None:
    given = arrays("gpt2") | {"mask": None}
    given["w2s"][1, 0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"w2s\[1\]: holds 1e\+06"):
        gpt2.init(**given, device=device.index)
