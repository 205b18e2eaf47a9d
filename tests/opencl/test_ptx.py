"""Kernels for NVIDIA's GPUs assemble there, with their arrays in registers.

Stands in for NVIDIA's own compiler where there is no such GPU: clang and libclc translate OpenCL C
to PTX, and `ptxas` assembles it and reports registers.
"""

import re
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path

import pytest

from cl_llama.opencl.programs import expand_includes, kernels_dir
from cl_llama.ops.matmul_mma import LARGE, MIDDLE, SMALL, Tiles

CLANG = shutil.which("clang-15")  # the one that reads this libclc
PTXAS = shutil.which("ptxas")
LIBRARY = Path("/usr/lib/clc/nvptx64--nvidiacl.bc")

pytestmark = pytest.mark.skipif(
    not (CLANG and PTXAS and LIBRARY.exists()), reason="not all of clang-15, libclc, ptxas"
)


def mma(parts: int, tiles: Tiles) -> dict[str, int]:
    names = ("TILE_T", "TILE_N", "WARPS_T", "WARPS_N", "STAGES")
    return {"PARTS": parts, "ALIGNED": 1, **dict(zip(names, astuple(tiles), strict=True))}


# The most registers of a work-item: 65536 of a multiprocessor, by items of as many groups as it
# is to have: two of the large ones with one part, else one; four warps and more of the others.
CASES = [
    ("matmul_mma", mma(1, LARGE[1]), 128),
    ("matmul_mma", mma(2, LARGE[2]), 255),
    ("matmul_mma", mma(1, MIDDLE[1]), 128),
    ("matmul_mma", mma(2, MIDDLE[2]), 168),
    ("matmul_mma", mma(2, SMALL[2]), 128),
    ("matmul_gemv", {"ALIGNED": 1, "REDUCE": 2}, 64),
    ("matmul_gemv", {"ALIGNED": 1, "REDUCE": 2, "TILE_T": 8}, 168),
    ("matmul_gemm", {"ALIGNED": 1}, 168),
    ("attention_prefill", {"K": 128}, 168),
    ("attention_decode", {"K": 128, "HEADS": 8}, 168),
    ("attention_mma", {"K": 64, "PARTS": 2}, 168),
    ("attention_mma", {"K": 128, "PARTS": 1}, 168),
    ("attention_mma", {"K": 128, "PARTS": 2}, 255),
    ("attention_mma", {"K": 256, "PARTS": 2}, 255),
]


@pytest.mark.parametrize(("name", "defines", "most"), CASES)
def test_registers(tmp_path: Path, name: str, defines: dict[str, int], most: int) -> None:
    source, ptx = tmp_path / "kernel.cl", tmp_path / "kernel.ptx"
    source.write_text(expand_includes(kernels_dir(), f"{name}.cl"))
    options = [f"-D{k}={v}" for k, v in (defines | {"GPU": 1, "__NV_CL_C_VERSION": 120}).items()]
    run(
        *(CLANG, "-target", "nvptx64-unknown-nvcl", "-march=sm_80", "-x", "cl", "-cl-std=CL1.2"),
        *("-O3", "-w", "-Xclang", "-finclude-default-header", "-Xclang", "-target-feature"),
        *("-Xclang", "+ptx71", "-Xclang", "-mlink-bitcode-file", "-Xclang", str(LIBRARY)),
        *(*options, "-S", str(source), "-o", str(ptx)),
    )
    report = run(PTXAS, "-arch=sm_90", "-v", str(ptx), "-o", str(tmp_path / "kernel.cubin"))
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores", report)
    assert frames
    assert set(frames) == {("0", "0")}, report
    assert max(map(int, re.findall(r"Used (\d+) registers", report))) <= most, report


def run(*command: str | None) -> str:
    words = [word for word in command if word is not None]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
