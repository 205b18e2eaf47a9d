"""matmul by the kernels for Intel's matrix engines, whose operations are emulated."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cl_llama.errors import KernelBuildError
from cl_llama.opencl import intel
from cl_llama.opencl.runtime import Runtime
from cl_llama.ops import Product
from cl_llama.ops.matmul_dpas import FILL, LARGE, SMALL, GemmDpas, Tiles
from tests import reference
from tests.ops import test_matmul
from tests.ops.guarded import assert_close
from tests.ops.test_matmul import CASES, Case
from tests.ops.test_matmul_mma import TOLERANCE

# Every kind of subgroup and of parts; several fragments and subgroups both ways.
METHODS = {
    "8x1": GemmDpas(8, 1, Tiles(3, 2, 1, 2), emulated=True),
    "8x2": GemmDpas(8, 2, Tiles(1, 1, 2, 1), emulated=True),
    "16x1": GemmDpas(16, 1, Tiles(2, 1, 2, 2), emulated=True),
    "16x2": GemmDpas(16, 2, Tiles(1, 2, 1, 1), emulated=True),
}
# Whole tiles of columns; the last tile of rows overlaps the one before; rows at no word's start.
OWN_CASES = [
    Case(17, 24, 32, bias=True),
    Case(33, 45, 160, bias=True, accumulate=True, segment_rows=26),
    Case(9, 40, 64, accumulate=True, offset=2, stride_extra=6),
    Case(18, 30, 96, bias=True, offset=1, stride_extra=1),
]


@pytest.fixture
def emulating(runtime: Runtime) -> Runtime:
    """A device whose compiler is quick with barriers in nested loops.

    PoCL computes the emulation rightly too, but takes seconds to build each of its kernels.
    """
    if not (runtime.device.platform.startswith("Intel") or runtime.device.type == "simulator"):
        pytest.skip("the emulation takes this compiler long")
    return runtime


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("case", CASES + OWN_CASES, ids=str)
def test_products(
    emulating: Runtime, name: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS[name]
    monkeypatch.setattr(sys.modules["cl_llama.ops.matmul"], "choose", lambda *_: method)
    monkeypatch.setattr(test_matmul, "TOLERANCE", TOLERANCE[method.parts])
    test_matmul.test_matmul(emulating, "portable", case)


@pytest.mark.parametrize("name", METHODS)
def test_scales(emulating: Runtime, name: str) -> None:
    """Rows of any magnitude, of nothing, and with single large values keep their exactness."""
    method = METHODS[name]
    rng = np.random.default_rng(3)
    x_TD = rng.standard_normal((20, 64)).astype(np.float32)
    x_TD *= np.logspace(-30, 30, 20, dtype=np.float32)[:, None]
    x_TD[7] = 0.0
    x_TD[11, 5] *= 3000.0
    w_ND = rng.standard_normal((24, 64)).astype(np.float16)
    weight = test_matmul._place(emulating, w_ND, Case(20, 24, 64))
    out = emulating.empty((20, 24), np.float32)
    packed = method.prepare(emulating.from_numpy(x_TD))
    method.launch(packed, weight.segments[0], Product(weight, out), (20, 24, 64), 0)
    expected = reference.matmul(x_TD, w_ND)
    for actual, row in zip(out.numpy(), expected, strict=True):
        assert_close(actual, row, TOLERANCE[method.parts])


@pytest.mark.parametrize("subgroup", [8, 16])
def test_the_check(emulating: Runtime, subgroup: int) -> None:
    assert intel.check(emulating, emulated=subgroup) is None


def test_the_check_does_not_build_elsewhere(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    if runtime.device.type == "gpu":
        pytest.skip("its driver may build it")
    monkeypatch.setattr(intel, "matrix_subgroup", lambda device: 8)
    with pytest.raises(KernelBuildError):
        intel.check(runtime)


def test_subgroups_of_what_is_here(runtime: Runtime) -> None:
    sizes = intel.subgroup_sizes(runtime.device)
    needed = "cl_intel_required_subgroup_size" in runtime.device.handle.extensions.split()
    assert bool(sizes) == needed
    assert list(sizes) == sorted(size for size in sizes if size in (1, 2, 4, 8, 16, 32, 64))


def test_absence(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = replace(runtime.device, type="cpu")
    assert intel.absence(cpu) == "it is no GPU"
    extensions = [name for name in intel._NEEDED_EXTENSIONS if not name.endswith("_short")]
    handle = SimpleNamespace(extensions=" ".join(extensions))
    gpu = replace(runtime.device, type="gpu", handle=handle)
    assert intel.absence(gpu) == "its driver has no cl_intel_subgroups_short"
    handle.extensions += " cl_intel_subgroups_short"
    for sizes, expected in {
        (8, 16, 32): None,
        (16, 32): None,
        (32,): "its subgroups are (32,), not of 8 or 16 at least",
        (): "its subgroups are unknown, not of 8 or 16 at least",
    }.items():
        monkeypatch.setattr(intel, "subgroup_sizes", lambda device, sizes=sizes: sizes)
        assert intel.absence(gpu) == expected


def test_tiles_are_large_where_they_are_enough() -> None:
    for (subgroup, parts), tiles in LARGE.items():
        method = GemmDpas(subgroup, parts)
        device = SimpleNamespace(compute_units=128, tuning={})
        assert method._choose_tiles(device, 512, 4096) == tiles
        subgroups = -(-4096 // (8 * tiles.n)) * 512 // (subgroup * tiles.t)
        third = SimpleNamespace(compute_units=subgroups // 3, tuning={FILL.name: 400})
        assert method._choose_tiles(third, 512, 4096) == SMALL
        assert method._choose_tiles(device, 512, 24) == SMALL
        assert method._choose_tiles(device, 9, 151936) == SMALL


def test_it_is_chosen_for_many_rows(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["cl_llama.ops.matmul"]
    monkeypatch.setattr(module, "matrix_subgroup", lambda device: 16)
    monkeypatch.setattr(runtime, "matrix_unit", "dpas")
    assert module.choose(runtime, "portable", "high", 64) == GemmDpas(16, 2)
    assert module.choose(runtime, "portable", "fast", 64) == GemmDpas(16, 1)
    assert not isinstance(module.choose(runtime, "portable", "high", 1), GemmDpas)
