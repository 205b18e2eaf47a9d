"""What NVIDIA's driver tells of a device."""

from cl_llama.opencl.devices import DeviceInfo


def nvidia_capability(device: DeviceInfo) -> tuple[int, int]:
    """Compute capability, major and minor, of a device of NVIDIA's driver; (0, 0) of others."""
    if "cl_nv_device_attribute_query" not in device.handle.extensions.split():
        return (0, 0)
    handle = device.handle
    return (int(handle.compute_capability_major_nv), int(handle.compute_capability_minor_nv))
