"""All parameters of kernels that a tuner may vary."""

from cl_llama.opencl.runtime import Runtime
from cl_llama.opencl.tuning import Parameter
from cl_llama.ops import attention_parameters, matmul_cpu, matmul_dpas, matmul_mma, matmul_portable
from cl_llama.ops.matmul import CROSSOVERS

ALL_PARAMETERS: tuple[Parameter, ...] = (
    *matmul_cpu.PARAMETERS,
    *matmul_portable.PARAMETERS,
    *matmul_mma.PARAMETERS,
    *matmul_dpas.PARAMETERS,
    *CROSSOVERS,
    *attention_parameters.PARAMETERS,
)
"""Whatever the device; what a kernel does comes before the choice among kernels."""


def parameters(runtime: Runtime) -> list[Parameter]:
    """Those of a device's family and of its matrix unit."""
    return [p for p in ALL_PARAMETERS if p.kernels in (runtime.family, runtime.matrix_unit)]
