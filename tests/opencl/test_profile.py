"""Times of a device's commands, and what operations say about them."""

import numpy as np

from cl_llama import ops
from cl_llama.opencl.profile import Command, Total, Work, totals
from cl_llama.opencl.runtime import Runtime


def test_commands_of_a_kind_are_added_up() -> None:
    commands = [
        Command("a", 1.0, None),
        Command("b", 2.0, Work("2x3", 10, 100)),
        Command("b", 3.0, Work("2x3", 20, 200)),
        Command("b", 0.5, Work("4x3", 40, 400)),
    ]
    assert totals(commands) == [
        Total("b", "2x3", 2, 5.0, 30, 300),
        Total("a", "", 1, 1.0, None, None),
        Total("b", "4x3", 1, 0.5, 40, 400),
    ]


def test_a_product_is_timed(runtime: Runtime) -> None:
    N, D = 64, 256
    values = runtime.empty((N, D), np.float16)
    ops.fill_random(values, 1, 1.0)
    weight = ops.Weight(runtime, (ops.Segment(values.buffer, 0, D, 0, N),), N, D)
    x, out = runtime.from_numpy(np.ones((1, D), np.float32)), runtime.empty((1, N), np.float32)
    ops.matmul(x, weight, out)  # builds it
    queue = runtime.queue
    with runtime.profile() as profile:
        assert runtime.profiles
        ops.matmul(x, weight, out)
        x.numpy()
    assert not runtime.profiles
    assert runtime.queue is queue
    product, copy = profile.commands()
    assert product.work == Work("1x256x64", 2 * N * D + 4 * (D + N), 2 * N * D)
    assert 0 < product.seconds < 1
    assert (copy.name, copy.work) == ("copy to host", Work("", 4 * D, 0))


def test_the_work_of_attention(runtime: Runtime) -> None:
    H, G, K = 4, 2, 8
    cache = ops.allocate_cache(runtime, 4, G, K)
    for part in (cache.keys, cache.values):
        ops.fill_random(part, 1, 1.0)
    tables = runtime.from_numpy(np.array([[0, 1], [2, 3]], np.int32))
    plan = ops.plan_attention(
        runtime, [(3, 10), (3, 40)], tables, n_heads=H, n_kv_heads=G, head_dim=K
    )
    q_THK = runtime.from_numpy(np.ones((6, H, K), np.float32))
    for window, pairs, keys in ((None, 11 + 12 + 13 + 41 + 42 + 43, 13 + 43), (4, 24, 6 + 6)):
        with runtime.profile() as profile:
            ops.attention(q_THK, cache, plan, runtime.empty((6, H, K), np.float32), window=window)
        work = profile.commands()[0].work
        assert work == Work("6 tokens", keys * G * K * 4 + 6 * H * K * 8, pairs * H * K * 4)
