"""Kernels for Intel's GPUs compile there to matrix instructions, with their arrays in registers.

Stands in for the driver where there is no such GPU: `ocloc` is its compiler by itself.
"""

import os
import re
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path

import pytest

from cl_llama.opencl.programs import BUILD_OPTIONS, expand_includes, kernels_dir
from cl_llama.ops.matmul_dpas import LARGE, SMALL, Tiles

OCLOC = shutil.which("ocloc")
DEVICES = {8: "dg2-g10", 16: "pvc"}
CASES = [
    *[(subgroup, parts, tiles, 1) for (subgroup, parts), tiles in LARGE.items()],
    *[(subgroup, parts, SMALL, whole) for subgroup, parts in LARGE for whole in (0, 1)],
]

pytestmark = pytest.mark.skipif(OCLOC is None, reason="no ocloc")


@pytest.mark.parametrize(("subgroup", "parts", "tiles", "whole"), CASES)
def test_matrix_instructions(
    tmp_path: Path, subgroup: int, parts: int, tiles: Tiles, whole: int
) -> None:
    source = tmp_path / "kernel.cl"
    source.write_text(expand_includes(kernels_dir(), "matmul_dpas.cl"))
    names = ("MT", "NT", "GROUPS_N", "GROUPS_T")
    symbols = {
        **dict(zip(names, astuple(tiles), strict=True)),
        **{"SUBGROUP": subgroup, "PARTS": parts, "WHOLE": whole, "GPU": 1},
        "cl_intel_subgroup_matrix_multiply_accumulate": 1,  # as where the driver has it
    }
    options = " ".join([*BUILD_OPTIONS, *(f"-D{k}={v}" for k, v in symbols.items())])
    command = [str(OCLOC), "compile", "-file", str(source), "-device", DEVICES[subgroup]]
    command += ["-options", options, "-out_dir", str(tmp_path), "-output", "kernel"]
    done = subprocess.run(
        command,
        env=os.environ | {"IGC_ShaderDumpEnable": "1", "IGC_DumpToCustomDir": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "spill" not in done.stdout + done.stderr
    listings = [path.read_text() for path in tmp_path.glob("*.asm")]
    (listing,) = (text for text in listings if text.startswith("//.kernel matmul_dpas"))
    # Two steps of 16 columns a tile; K = 2 * 8 columns each, and 8 rows.
    products = 2 * tiles.n * tiles.t * parts
    assert len(re.findall(r"^\s*dpas\.8x8 ", listing, re.MULTILINE)) == products
    reads = len(re.findall(r"\bload\.ugm\.d32x16t\.", listing))
    assert reads == (8 * tiles.n if whole else 0), reads
