"""matmul by the kernels for tensor cores, whose operations are emulated: test_matmul's cases."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cl_llama.errors import KernelBuildError
from cl_llama.opencl import nvidia
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops import Product
from cl_llama.ops.matmul_mma import FILL, LARGE, MIDDLE, SMALL, GemmMma, Tiles, choose_tiles
from tests import reference
from tests.ops import test_matmul
from tests.ops.guarded import assert_close
from tests.ops.test_matmul import CASES, Case

# Errors of single outputs against their RMS. Two parts: the float32 sums', as in test_matmul; one:
# activations have 11 bits, and the largest of some 10^4 errors is four times 2^-12 / sqrt(3).
TOLERANCE = {1: 2e-3, 2: 2e-5}

# Few groups' worth of everything: more stages than there are steps, warps along both sides.
TILES = {
    "32x32": Tiles(32, 32, 1, 2, 4),
    "64x32": Tiles(64, 32, 2, 1, 2),
}
OWN_CASES = [
    Case(32, 32, 32, bias=True),
    Case(33, 33, 40, bias=True, accumulate=True),
    Case(65, 40, 200, accumulate=True),
]


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("case", CASES + OWN_CASES, ids=str)
def test_products(
    emulating: Runtime, parts: int, tiles: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = GemmMma(parts, TILES[tiles], emulated=True)
    monkeypatch.setattr(sys.modules["cl_llama.ops.matmul"], "choose", lambda *_: method)
    monkeypatch.setattr(test_matmul, "TOLERANCE", TOLERANCE[parts])
    test_matmul.test_matmul(emulating, "portable", case)


@pytest.mark.parametrize("parts", [1, 2])
def test_scales(emulating: Runtime, parts: int) -> None:
    """Rows of any magnitude, of nothing, and with single large values keep their exactness."""
    rng = np.random.default_rng(3)
    x_TD = rng.standard_normal((20, 64)).astype(np.float32)
    x_TD *= np.logspace(-30, 30, 20, dtype=np.float32)[:, None]
    x_TD[7] = 0.0
    x_TD[11, 5] *= 3000.0
    w_ND = rng.standard_normal((16, 64)).astype(np.float16)
    weight = test_matmul._place(emulating, w_ND, Case(20, 16, 64))
    out = emulating.empty((20, 16), np.float32)
    method = GemmMma(parts, TILES["32x32"], emulated=True)
    packed = method.prepare(emulating.from_numpy(x_TD))
    method.launch(packed, weight.segments[0], Product(weight, out), (20, 16, 64), 0)
    expected = reference.matmul(x_TD, w_ND)
    for actual, row in zip(out.numpy(), expected, strict=True):
        assert_close(actual, row, TOLERANCE[parts])


def test_the_check(emulating: Runtime) -> None:
    assert nvidia.check(emulating, emulated=True) is None


def test_the_check_does_not_build_elsewhere(runtime: Runtime) -> None:
    if runtime.device.platform.startswith("NVIDIA"):
        pytest.skip("its driver builds it")
    with pytest.raises(KernelBuildError):
        nvidia.check(runtime)


@pytest.mark.parametrize(("fill", "tiles"), [(50, LARGE), (100, MIDDLE), (400, SMALL)])
def test_tiles_are_enough(fill: int, tiles: dict[int, Tiles]) -> None:
    """There are 64 large ones, 256 of the middle size, and 1024 small ones."""
    device = SimpleNamespace(compute_units=100, tuning={FILL.name: fill})
    assert choose_tiles(device, 1, 512, 2048) is tiles[1]


def test_tiles_fit_and_divide() -> None:
    for parts in (1, 2):
        for tiles in (SMALL[parts], MIDDLE[parts], LARGE[parts]):
            assert 64 * (parts * tiles.t + tiles.n) * tiles.stages <= 48 << 10
            assert tiles.t % (16 * tiles.warps_t) == tiles.n % (16 * tiles.warps_n) == 0
