"""A device in use: its context, its queue, its memory and its kernels."""

import math
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cl_llama.errors import DeviceError, DeviceMemoryError
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.host_memory import HUGE_PAGE, huge_pages
from cl_llama.opencl.loader import import_pyopencl
from cl_llama.opencl.matrix_units import MatrixUnit, find_matrix_unit, has_vnni
from cl_llama.opencl.profile import Profile, Work
from cl_llama.opencl.programs import build_program
from cl_llama.opencl.tuning import known_values

if TYPE_CHECKING:
    import pyopencl as cl

    from cl_llama.opencl.recording import Recording

GROUP, WIDE_GROUP = 64, 256
"""Work-items of a group: what every device takes, and what wide ones like where groups are few."""
_PLENTY = 1024
"""A device of so many items a group has registers for WIDE_GROUP of any kernel."""

Family = Literal["portable", "cpu"]

_ARGUMENT_TYPES: dict[str, type[np.generic] | None] = {
    "b": None,  # buffer
    "u": np.uint32,
    "l": np.uint64,
    "f": np.float32,
}


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """A dense row-major array in a device's memory; it starts at its buffer's first byte."""

    runtime: "Runtime"
    buffer: "cl.Buffer"
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the array, which its buffer may exceed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self, *shape: int) -> "DeviceArray":
        """The first elements of the buffer in another shape."""
        view = DeviceArray(self.runtime, self.buffer, shape, self.dtype)
        if view.nbytes > self.buffer.size:
            raise ValueError(f"view: {shape} has {view.nbytes} bytes, buffer {self.buffer.size}")
        return view

    def numpy(self) -> NDArray[Any]:
        """A copy on the host; waits for the commands before it."""
        out = np.empty(self.shape, self.dtype)
        if out.nbytes:
            self.runtime.read((self.buffer, out))
        return out


class _HostMemory(np.ndarray[Any, Any]):
    """What a buffer was made over; unlike the base class, it can be finalised."""


def _finish(queue: "cl.CommandQueue", failed: type[Exception]) -> None:
    """Wait until nothing queued can read memory that goes; a device that has failed reads none."""
    with suppress(failed):
        queue.finish()


def family_of(device: DeviceInfo) -> Family:
    """The kernels that suit a device: on the host's cores one work-item streams whole rows.

    llvmpipe runs on them too, but as a GPU would: a work-item is one lane of a vector.
    """
    return "cpu" if device.is_cpu and "llvmpipe" not in device.name.lower() else "portable"


class Runtime:
    """One device's context and in-order queue.

    A single thread may use it at a time: OpenCL kernel objects are not thread-safe.

    Args:
        device: the device to open.
        max_threads: on CPU devices, the most cores that kernels run on.
        matrix_units: whether kernels may use a matrix unit that was found to work.

    Raises:
        DeviceError: the driver refuses a context, a queue or the division of its cores.
    """

    def __init__(
        self, device: DeviceInfo, max_threads: int | None = None, *, matrix_units: bool = True
    ) -> None:
        self._cl = import_pyopencl()
        # Before the context, whose threads are to have the permission that this asks for.
        self.matrix_unit: MatrixUnit | None = find_matrix_unit(device) if matrix_units else None
        self._matrix_units = matrix_units
        self.device = device
        self.family = family_of(device)
        self.compute_units = device.compute_units
        self.most_items = int(device.handle.max_work_group_size)
        """Work-items of a group at most; a kernel's own limit may be lower."""
        self.wide_groups = device.type == "gpu" and self.most_items >= _PLENTY
        """Whether kernels may have WIDE_GROUP items a group."""
        self.findings: dict[Any, Any] = {}
        """What was found out about the device in use, by the question."""
        self.tuning = known_values(device)
        """Parameters of kernels by name, those that are known of the device."""
        self._kernels: dict[tuple[Any, ...], cl.Kernel] = {}
        self._programs: dict[tuple[Any, ...], cl.Program] = {}
        self._scratch: dict[str, cl.Buffer] = {}
        self.scratch_changes = 0
        """Times that a scratch array was replaced by a larger one."""
        self._types: dict[cl.Kernel, list[type[np.generic] | None]] = {}
        self._profile: Profile | None = None
        self._recording: Recording | None = None
        handle = device.handle
        self.alignment: int = max(128, handle.mem_base_addr_align // 8)
        """Bytes, at multiples of which a part of a buffer may begin."""
        with self._errors("open"):
            if max_threads is not None and device.is_cpu and max_threads < device.compute_units:
                by_counts: Any = self._cl.device_partition_property.BY_COUNTS
                offered: Any = handle.partition_properties
                if by_counts not in offered:  # llvmpipe crashes if asked
                    raise DeviceError(f"{device.label}: this driver cannot limit its threads")
                division: list[Any] = [by_counts, max_threads, 0]
                handle = handle.create_sub_devices(division)[0]
                self.compute_units = max_threads
            self.context = self._cl.Context([handle])
            self.queue = self._cl.CommandQueue(self.context, handle)

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """An array of undefined contents.

        Raises:
            DeviceMemoryError: more than the device allocates at once, or than it has left.
        """
        dtype = np.dtype(dtype)
        return DeviceArray(
            self, self.allocate(math.prod(shape) * dtype.itemsize), tuple(shape), dtype
        )

    @cached_property
    def vnni(self) -> bool:
        """Whether kernels may use AVX-512 VNNI; looked for when quantised weights are met."""
        return self._matrix_units and has_vnni(self.device)

    def allocate(self, nbytes: int) -> "cl.Buffer":
        """A buffer of at least `nbytes` bytes and at least 64."""
        nbytes = max(nbytes, 64)
        if nbytes > self.device.max_alloc_bytes:
            raise DeviceMemoryError(
                f"{self.device.label}: a buffer of {nbytes:,} bytes is asked for, "
                f"at most {self.device.max_alloc_bytes:,} are given at once"
            )
        with self._errors(f"allocation of {nbytes:,} bytes"):
            if self.computes_in_host_memory and nbytes >= HUGE_PAGE:
                memory = huge_pages(nbytes)
                if memory is not None:
                    return self._buffer_over(memory, self._cl.mem_flags.READ_WRITE)
            buffer: cl.Buffer = self._cl.Buffer(self.context, self._cl.mem_flags.READ_WRITE, nbytes)
            return buffer

    def part(self, buffer: "cl.Buffer", start: int, nbytes: int) -> "cl.Buffer":
        """Bytes of a buffer as one of its own; `start` is a multiple of `alignment`."""
        with self._errors("part of a buffer"):
            part: cl.Buffer = buffer.get_sub_region(start, nbytes)
        return part

    def map_host(self, memory: NDArray[np.uint8]) -> "cl.Buffer":
        """A read-only buffer over host memory, which a CPU device computes in without a copy.

        The memory stays referenced while the buffer lives, and until the queue has run what may
        read it. Some drivers copy what does not begin at a multiple of 128 bytes.
        """
        with self._errors(f"use of {memory.nbytes:,} bytes of host memory"):
            return self._buffer_over(memory, self._cl.mem_flags.READ_ONLY)

    def _buffer_over(self, memory: NDArray[np.uint8], access: int) -> "cl.Buffer":
        view = memory.view(_HostMemory)
        weakref.finalize(view, _finish, self.queue, self._cl.Error)
        flags = access | self._cl.mem_flags.USE_HOST_PTR
        buffer: cl.Buffer = self._cl.Buffer(self.context, flags, hostbuf=view)
        return buffer

    def from_numpy(self, array: NDArray[Any]) -> DeviceArray:
        """A copy of a host array on the device."""
        array = np.ascontiguousarray(array)
        out = self.empty(array.shape, array.dtype)
        if array.nbytes:
            self.write(out.buffer, array)
        return out

    def scratch(self, name: str, shape: Sequence[int], dtype: DTypeLike) -> DeviceArray:
        """A named array that the next call with its name may overwrite.

        The queue runs in order, so a name serves all layers in turn.
        """
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        buffer = self._scratch.get(name)
        if buffer is None or buffer.size < nbytes:
            self.scratch_changes += self._scratch.pop(name, None) is not None
            buffer = self._scratch[name] = self.allocate(nbytes)
        return DeviceArray(self, buffer, tuple(shape), dtype)

    def write(self, buffer: "cl.Buffer", array: NDArray[Any], offset: int = 0) -> None:
        """Copy a contiguous host array into a buffer at a byte offset; returns when it is read."""
        with self._errors("write"):
            event = self._cl.enqueue_copy(
                self.queue, buffer, array, dst_offset=offset, is_blocking=True
            )
        if self._profile is not None:
            self._profile.add_copy("copy to device", event, array.nbytes)

    def write_later(self, buffer: "cl.Buffer", array: NDArray[Any]) -> "cl.Event":
        """Queue a copy to a buffer's start; the array stays as it is until the event is over."""
        with self._errors("write"):
            event: cl.Event = self._cl.enqueue_copy(self.queue, buffer, array, is_blocking=False)
        if self._profile is not None:
            self._profile.add_copy("copy to device", event, array.nbytes)
        return event

    def wait(self, event: "cl.Event") -> None:
        """Wait until a command is over."""
        with self._errors("wait"):
            event.wait()

    def read(self, *copies: tuple["cl.Buffer", NDArray[Any]]) -> None:
        """Fill contiguous host arrays from the starts of buffers, after the commands before."""
        events = []
        with self._errors("read"):
            for i, (buffer, out) in enumerate(copies, 1):
                last = i == len(copies)  # the queue runs in order: waiting once is enough
                events.append(self._cl.enqueue_copy(self.queue, out, buffer, is_blocking=last))
        if self._profile is not None:
            for event, (_, out) in zip(events, copies, strict=True):
                self._profile.add_copy("copy to host", event, out.nbytes)

    def kernel(
        self, filename: str, name: str, arguments: str, **defines: int | float | str
    ) -> "cl.Kernel":
        """A kernel of a file in kernels/, built on first use and kept.

        `arguments` has a letter an argument: b buffer, u uint, l ulong, f float.
        """
        key = (filename, name, *defines.items())
        kernel = self._kernels.get(key)
        if kernel is None:
            program_key = (filename, tuple(sorted(defines.items())))
            program = self._programs.get(program_key)
            if program is None:
                program = build_program(self.context, self.device, filename, defines)
                self._programs[program_key] = program
            with self._errors(f"kernel {name}"):
                kernel = self._cl.Kernel(program, name)
                types = self._types[kernel] = [_ARGUMENT_TYPES[a] for a in arguments]
                kernel.set_scalar_arg_dtypes(types)
            self._kernels[key] = kernel
        return kernel

    def has_program(self, filename: str, defines: tuple[tuple[str, Any], ...]) -> bool:
        """Whether a file of kernels/ has been built with these symbols, sorted by name."""
        return (filename, defines) in self._programs

    def launch(
        self,
        kernel: "cl.Kernel",
        global_size: tuple[int, ...],
        local_size: tuple[int, ...] | None,
        *arguments: Any,
    ) -> None:
        """Queue a kernel; arrays are passed as their buffers."""
        values = [a.buffer if isinstance(a, DeviceArray) else a for a in arguments]
        try:
            event = kernel(self.queue, global_size, local_size, *values)
        except self._cl.Error as error:
            raise self._translated(kernel.function_name, error) from error
        if self._profile is not None:
            self._profile.add_kernel(kernel.function_name, event)
        if self._recording is not None:
            types = self._types[kernel]
            typed = [v if t is None else t(v) for t, v in zip(types, values, strict=True)]
            with self._errors(f"recording of {kernel.function_name}"):
                self._recording.add(kernel, global_size, local_size, typed)

    @contextmanager
    def recording(self, recording: "Recording") -> Iterator[None]:
        """Note the launches of the block, which are queued all the same."""
        self._recording = recording
        try:
            yield
        finally:
            self._recording = None

    def replay(self, recording: "Recording") -> None:
        """Queue the launches of a recording once more."""
        enqueue, queue, profile = self._cl.enqueue_nd_range_kernel, self.queue, self._profile
        with self._errors("repeated launches"):
            for launch in recording.launches:
                event = enqueue(queue, launch.kernel, launch.global_size, launch.local_size)
                if profile is not None:
                    if launch.work is not None:
                        profile.announce(launch.work)
                    profile.add_kernel(launch.original.function_name, event)

    @property
    def profiles(self) -> bool:
        """Whether `announce` is listened to."""
        return self._profile is not None or self._recording is not None

    def announce(self, work: Work) -> None:
        """What the next kernel will do, for a profile."""
        for listener in (self._profile, self._recording):
            if listener is not None:
                listener.announce(work)

    @contextmanager
    def profile(self) -> Iterator[Profile]:
        """Time every command until the end of the block; then all of them have run."""
        self.finish()
        plain, profile = self.queue, Profile()
        properties = self._cl.command_queue_properties.PROFILING_ENABLE
        with self._errors("profiling queue"):
            self.queue = self._cl.CommandQueue(self.context, plain.device, properties=properties)
        self._profile = profile
        try:
            yield profile
            self.finish()
        finally:
            self.queue, self._profile = plain, None

    def finish(self) -> None:
        """Wait until everything queued has run."""
        with self._errors("finish"):
            self.queue.finish()

    def close(self) -> None:
        """Wait for the queue and let go of the device's memory and kernels."""
        try:
            self.finish()
        finally:
            self._scratch.clear()
            self._kernels.clear()
            self._types.clear()
            self._programs.clear()

    @property
    def computes_in_host_memory(self) -> bool:
        """Whether `map_host` makes buffers that kernels read as fast as any other."""
        return self.family == "cpu"

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._cl.Error, MemoryError) as error:
            raise self._translated(what, error) from error

    def _translated(self, what: str, error: Exception) -> DeviceError:
        text = " ".join(str(error).split())
        out_of_memory = isinstance(error, self._cl.MemoryError | MemoryError)
        kind = DeviceMemoryError if out_of_memory else DeviceError
        return kind(f"{self.device.label}: {what}: {text}")
