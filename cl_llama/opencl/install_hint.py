"""What to install where there is no OpenCL device."""

import os
import platform
import sys
from pathlib import Path

_CPU_EXTRA = 'pip install "cl-llama[cpu]"'
# By distribution: the command, its CPU runtime, and its packages for GPUs.
_LINUX = {
    "debian": (
        "apt install",
        "pocl-opencl-icd",
        "intel-opencl-icd for Intel, mesa-opencl-icd for AMD, the driver's own for NVIDIA",
    ),
    "fedora": (
        "dnf install",
        "pocl",
        "intel-compute-runtime for Intel, rocm-opencl or mesa-libOpenCL for AMD, "
        "the driver's own for NVIDIA",
    ),
    "arch": (
        "pacman -S",
        "pocl",
        "intel-compute-runtime for Intel, rocm-opencl-runtime for AMD, opencl-nvidia for NVIDIA",
    ),
}


def install_hint() -> str:
    """One sentence without a full stop: how to get an OpenCL device on this system."""
    hint = packages_hint(sys.platform, platform.machine(), Path("/etc/os-release"))
    nodes = sorted(Path("/dev/dri").glob("renderD*"))
    if nodes and not any(os.access(node, os.R_OK | os.W_OK) for node in nodes):
        hint += f"; {nodes[0]} is closed to this user: join its group (usually 'render')"
    return hint


def packages_hint(system: str, machine: str, os_release: Path) -> str:
    """What to install on a system.

    Args:
        system: as `sys.platform` names it.
        machine: as `platform.machine()` names it.
        os_release: the file that names a Linux distribution.
    """
    if system == "darwin":
        return (
            "macOS brings OpenCL for real hardware; in a virtual machine, "
            "conda install -c conda-forge pocl pyopencl runs on the CPU"
        )
    if system == "win32":
        return (
            "install the GPU vendor's graphics driver, or Intel's 'CPU Runtime for OpenCL "
            "Applications' to run on the CPU"
        )
    on_x86 = system == "linux" and machine == "x86_64"
    distribution = _distribution(os_release)
    if distribution is None:
        cpu = f"{_CPU_EXTRA} runs on the CPU; " if on_x86 else ""
        return f"{cpu}install the OpenCL package (ICD) of the GPU's vendor to use a GPU"
    command, cpu_package, gpu_packages = _LINUX[distribution]
    cpu = _CPU_EXTRA if on_x86 else f"{command} {cpu_package}"
    return f"{cpu} runs on the CPU; for a GPU, {command} {gpu_packages}"


def _distribution(os_release: Path) -> str | None:
    """The family in `_LINUX` that an os-release file names by ID or ID_LIKE."""
    try:
        lines = os_release.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    ids = [values.get("ID", ""), *values.get("ID_LIKE", "").strip("\"'").split()]
    names = [name.strip("\"'").lower() for name in ids]
    aliases = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "manjaro": "arch"}
    return next((aliases.get(n, n) for n in names if aliases.get(n, n) in _LINUX), None)
