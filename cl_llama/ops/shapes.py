"""Shape arithmetic and the check that every operation makes of its arguments."""

from cl_llama.opencl.runtime import DeviceArray


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def expect(operation: str, name: str, array: DeviceArray, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the array has this shape."""
    if array.shape != shape:
        raise ValueError(f"{operation}: {name} has shape {array.shape}, needs {shape}")
