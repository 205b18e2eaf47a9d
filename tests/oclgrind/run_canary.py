"""Runs one of the planted faults: python run_canary.py file.cl."""

import sys
from pathlib import Path

import numpy as np

from cl_llama.opencl.devices import select_device
from cl_llama.opencl.loader import import_pyopencl
from cl_llama.opencl.runtime import Runtime


def main() -> None:
    cl = import_pyopencl()
    runtime = Runtime(select_device("oclgrind"))
    program = cl.Program(runtime.context, Path(sys.argv[1]).read_text()).build(cache_dir=False)
    arrays = [runtime.from_numpy(np.zeros(16, np.int32)) for _ in range(2)]
    runtime.launch(cl.Kernel(program, "canary"), (16,), (16,), *arrays)
    runtime.finish()


if __name__ == "__main__":
    main()
