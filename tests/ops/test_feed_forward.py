"""The gated network and fused norms against float64, in every form that rows are computed in."""

import numpy as np
import pytest

from cl_llama import ops
from cl_llama.opencl.runtime import Family, Runtime
from cl_llama.ops.matmul_cpu import Activation
from tests import reference
from tests.ops.guarded import Guarded, assert_close
from tests.ops.test_matmul import Case, _place

# Two float32 sums behind each other, and a float32 exponential between them.
TOLERANCE = 4e-5
EPS = 1e-5


def _case(T: int, matrix: np.ndarray, segment_rows: int | None) -> Case:
    return Case(T, *matrix.shape, segment_rows=segment_rows, offset=3, stride_extra=2)


GATED = {"silu": reference.swiglu, "gelu": reference.geglu}


@pytest.mark.parametrize("segment_rows", [None, 19])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("T", "D", "F", "after", "activation"),
    [
        *[(1, 40, 33, False, "silu"), (1, 300, 170, False, "silu"), (3, 48, 20, False, "silu")],
        *[(7, 33, 50, False, "silu"), (33, 20, 17, False, "silu"), (70, 36, 401, False, "silu")],
        *[(1, 40, 33, True, "gelu"), (70, 36, 401, True, "silu"), (70, 20, 33, False, "gelu")],
    ],
)
def test_feed_forward(
    runtime: Runtime,
    family: Family,
    T: int,
    D: int,
    F: int,
    after: bool,
    activation: Activation,
    bias: bool,
    segment_rows: int | None,
) -> None:
    """after: the norm is of what is added, and not of what the network is given."""
    rng = np.random.default_rng(T * 31 + D)
    x_TD = rng.standard_normal((T, D)).astype(np.float32)
    norm_D = rng.uniform(0.5, 1.5, D).astype(np.float32)
    matrices = [
        (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float16)
        for shape in ((F, D), (F, D), (D, F))
    ]
    biases = [rng.standard_normal(len(m)).astype(np.float32) if bias else None for m in matrices]
    out = Guarded(runtime, x_TD)
    network = ops.GatedNetwork(
        *[_place(runtime, m, _case(T, m, segment_rows)) for m in matrices],
        *[None if b is None else runtime.from_numpy(b) for b in biases],
    )
    norm = ops.Norm(runtime.from_numpy(norm_D), EPS)
    norms = {"norm": None, "norm_after": norm} if after else {"norm": norm}
    ops.feed_forward(out.array, network=network, family=family, activation=activation, **norms)
    h_TD = x_TD if after else reference.rmsnorm(x_TD, norm_D, EPS)
    gate, up, down = [(m, b) for m, b in zip(matrices, biases, strict=True)]
    hidden = GATED[activation](reference.matmul(h_TD, *gate), reference.matmul(h_TD, *up))
    added = reference.matmul(hidden, *down)
    added = reference.rmsnorm(added, norm_D, EPS) if after else added
    assert_close(out.numpy(), x_TD + added, TOLERANCE)


@pytest.mark.parametrize("T", [1, 4, 9, 40])
def test_norm_matmul_each(runtime: Runtime, family: Family, T: int) -> None:
    """Four matrices, more than a launch takes, with and without a bias, one in two segments."""
    rng = np.random.default_rng(T)
    D = 70
    x_TD = rng.standard_normal((T, D)).astype(np.float32)
    norm_D = rng.uniform(0.5, 1.5, D).astype(np.float32)
    expected, products, outs = [], [], []
    for i, N in enumerate((5, 64, 130, 31)):
        w = rng.standard_normal((N, D)).astype(np.float16)
        bias = rng.standard_normal(N).astype(np.float32) if i % 2 else None
        out = Guarded(runtime, np.zeros((T, N), np.float32))
        weight = _place(runtime, w, Case(T, N, D, segment_rows=100, offset=i, stride_extra=i))
        products.append(
            ops.Product(weight, out.array, None if bias is None else runtime.from_numpy(bias))
        )
        outs.append(out)
        expected.append(reference.matmul(reference.rmsnorm(x_TD, norm_D, EPS), w, bias))
    norm = ops.Norm(runtime.from_numpy(norm_D), EPS)
    ops.norm_matmul_each(runtime.from_numpy(x_TD), norm, products, family=family)
    for out, values in zip(outs, expected, strict=True):
        assert_close(out.numpy(), values, TOLERANCE)


def test_a_bias_of_one_alone_is_refused(runtime: Runtime) -> None:
    square = _place(runtime, np.zeros((16, 16), np.float16), Case(1, 16, 16))
    vector = runtime.from_numpy(np.ones(16, np.float32))
    network = ops.GatedNetwork(square, square, square, gate_bias=vector)
    with pytest.raises(ValueError, match="both have a bias"):
        ops.feed_forward(runtime.empty((1, 16), np.float32), ops.Norm(vector, EPS), network)
