"""Include expansion, builds, build failures and the cache of binaries."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cl_llama.errors import KernelBuildError
from cl_llama.opencl import cache, programs
from cl_llama.opencl.devices import list_devices
from cl_llama.opencl.loader import import_pyopencl

SCALE = """#include "factor.cl"
__kernel void scale(__global float *x, uint n) {
    uint i = get_global_id(0);
    if (i < n) x[i] = factor(x[i]);
}
"""
FACTOR = """float factor(float x) {
    return x * FACTOR;
}
"""


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A kernels folder of the test's own, and a cache that starts empty."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "scale.cl").write_text(SCALE)
    (folder / "factor.cl").write_text(FACTOR)
    monkeypatch.setattr(programs, "kernels_dir", lambda: folder)
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_refused", set())
    return folder


@pytest.fixture(scope="module")
def context(device):
    return import_pyopencl().Context([device.handle])


@pytest.fixture
def compiled(monkeypatch):
    """A list that grows by the file's name with every compilation."""
    names = []
    original = programs._compile

    def record(context, handle, device, filename, *rest):
        names.append(filename)
        return original(context, handle, device, filename, *rest)

    monkeypatch.setattr(programs, "_compile", record)
    return names


def scale(context, device, factor=2.0):
    """Build and run the kernel; fails unless it multiplies."""
    cl = import_pyopencl()
    program = programs.build_program(context, device, "scale.cl", {"FACTOR": factor})
    x = np.arange(100, dtype=np.float32)
    queue = cl.CommandQueue(context)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    buffer = cl.Buffer(context, flags, hostbuf=x)
    kernel = cl.Kernel(program, "scale")
    kernel(queue, (128,), (32,), buffer, np.uint32(x.size))
    y = np.empty_like(x)
    cl.enqueue_copy(queue, y, buffer)
    queue.finish()
    np.testing.assert_array_equal(y, x * np.float32(factor))


def entries() -> list[Path]:
    return sorted(programs.cache_info().path.glob("*"))


def test_second_build_loads_the_binary(context, device, kernels, compiled):
    scale(context, device)
    assert len(entries()) == 1
    scale(context, device)
    scale(context, device)
    assert compiled == ["scale.cl"]


def test_another_process_loads_the_binary(context, device, kernels):
    scale(context, device)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_programs as tests
from cl_llama.opencl import programs
from cl_llama.opencl.devices import select_device
programs.kernels_dir = lambda: Path({str(kernels)!r})
programs._compile = None
device = select_device({device.index})
tests.scale(tests.import_pyopencl().Context([device.handle]), device)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_oclgrind_loads_its_binary(kernels):
    simulators = [d for d in list_devices() if d.platform == "Oclgrind"]
    if not simulators:
        pytest.skip("Oclgrind is not installed")
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_programs as tests
from cl_llama.opencl import programs
from cl_llama.opencl.devices import select_device
programs.kernels_dir = lambda: Path({str(kernels)!r})
device = select_device("oclgrind")
context = tests.import_pyopencl().Context([device.handle])
tests.scale(context, device)
programs._compile = None
tests.scale(context, device)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_context_of_some_of_the_cores(context, device, kernels, compiled):
    cl = import_pyopencl()
    by_counts = cl.device_partition_property.BY_COUNTS
    # Asked first: Mesa's rusticl crashes on dividing what it says is not divisible.
    if by_counts not in device.handle.partition_properties or device.compute_units < 2:
        pytest.skip("the device is not divisible")
    (part, *_) = device.handle.create_sub_devices([by_counts, 1, 0])
    scale(cl.Context([part]), device)
    scale(cl.Context([part]), device)
    scale(context, device)
    assert len(compiled) == 1


def test_entries_are_closed_to_others(context, device, kernels):
    scale(context, device)
    folder = programs.cache_info().path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert [p.stat().st_mode & 0o777 for p in entries()] == [0o600]


def flip_last_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: content[:30], id="header only"),
        pytest.param(flip_last_bit, id="bit flipped"),
        pytest.param(lambda content: b"\x7fELF" + content[4:], id="no magic"),
        pytest.param(lambda content: b"something else\n" * 100, id="foreign"),
        pytest.param(lambda content: content + b"more", id="longer"),
    ],
)
def test_damaged_entries_are_rebuilt(damage, context, device, kernels, compiled):
    scale(context, device)
    (entry,) = entries()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    scale(context, device)
    assert compiled == ["scale.cl"] * 2
    scale(context, device)
    assert compiled == ["scale.cl"] * 2


def test_an_entry_of_another_program_is_rebuilt(context, device, kernels, compiled):
    scale(context, device, 2.0)
    (first,) = entries()
    scale(context, device, 3.0)
    (second,) = set(entries()) - {first}
    shutil.copy(first, second)
    scale(context, device, 3.0)
    assert len(compiled) == 3


def test_a_binary_that_the_driver_refuses_is_rebuilt(context, device, kernels, compiled):
    scale(context, device)
    (entry,) = entries()
    entry.write_bytes(programs._pack(b"", entry.stem))
    scale(context, device)
    assert len(compiled) == 2


def test_an_entry_that_cannot_be_read(context, device, kernels, compiled):
    scale(context, device)
    (entry,) = entries()
    entry.unlink()
    entry.mkdir()
    scale(context, device)
    assert len(compiled) == 2


def test_key_depends_on_all_that_a_binary_depends_on(device, monkeypatch):
    def key(source="s", options=("-a",), **changes):
        return programs.cache_key(replace(device, **changes), source, options)

    keys = [
        key(),
        key(source="t"),
        key(options=("-b",)),
        key(options=("-a", "-b")),
        *(
            key(**{name: "another"})
            for name in ("platform", "platform_version", "name", "vendor", "version", "driver")
        ),
    ]
    monkeypatch.setattr(programs, "_cpu_features", lambda: "another CPU")
    if device.is_cpu:
        keys.append(key())
    else:
        assert key() == keys[0]
    assert len(set(keys)) == len(keys)
    assert key(index=7) == key()


def test_kernels_are_told_of_a_gpu(context, device, kernels):
    (kernels / "scale.cl").write_text(f"#ifdef GPU\n#error unrolled\n#endif\n{SCALE}")
    scale(context, replace(device, type="cpu"))
    with pytest.raises(KernelBuildError, match="unrolled"):
        scale(context, replace(device, type="gpu"))


def test_an_included_file_is_part_of_the_key(context, device, kernels, compiled):
    scale(context, device)
    (kernels / "factor.cl").write_text(FACTOR + "// changed\n")
    scale(context, device)
    assert len(compiled) == 2


def test_cache_below_a_file_costs_only_the_cache(
    context, device, kernels, compiled, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("CL_LLAMA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    scale(context, device)
    scale(context, device)
    assert len(compiled) == 2
    assert programs.cache_info().entries == 0
    assert programs.clear_cache() == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_cache_costs_only_the_cache(context, device, kernels, compiled):
    folder = programs.cache_info().path
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    scale(context, device)
    scale(context, device)
    assert len(compiled) == 2


def test_full_disk_costs_only_the_cache(context, device, kernels, compiled, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", fail)
        scale(context, device)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        scale(context, device)
    assert entries() == []
    scale(context, device)
    scale(context, device)
    assert len(compiled) == 3


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_to_is_refused(
    mode, context, device, kernels, compiled, caplog
):
    scale(context, device)
    folder = programs.cache_info().path
    folder.chmod(mode)
    with caplog.at_level(logging.WARNING):
        scale(context, device)
        scale(context, device)
    assert len(compiled) == 3
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the cache folder {folder} is not used: it can be written by other users "
        "(chmod go-w makes it usable)"
    )
    folder.chmod(0o700)
    scale(context, device)
    assert len(compiled) == 3


@pytest.mark.skipif(os.name != "posix", reason="POSIX owners")
def test_a_folder_of_another_user_is_refused(
    context, device, kernels, compiled, caplog, monkeypatch
):
    scale(context, device)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with caplog.at_level(logging.WARNING):
        scale(context, device)
    assert len(compiled) == 2
    assert "belongs to another user" in caplog.text


def test_threads_build_together(context, device, kernels):
    failures = []

    def build():
        try:
            for factor in (2.0, 3.0):
                programs.build_program(context, device, "scale.cl", {"FACTOR": factor})
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(entries()) == 2
    scale(context, device, 3.0)


def test_processes_build_together(device_infos, kernels):
    if not device_infos:
        pytest.skip("no OpenCL device")
    device = device_infos[0]
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_programs as tests
from cl_llama.opencl import programs
from cl_llama.opencl.devices import select_device
programs.kernels_dir = lambda: Path({str(kernels)!r})
device = select_device({device.index})
tests.scale(tests.import_pyopencl().Context([device.handle]), device)
"""
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [child.wait(timeout=120) for child in children] == [0, 0, 0]
    assert len(entries()) == 1


def test_cache_info_and_clear(context, device, kernels):
    assert programs.cache_info() == programs.CacheInfo(programs.cache_info().path, 0, 0)
    assert programs.clear_cache() == 0
    scale(context, device, 2.0)
    scale(context, device, 3.0)
    folder = programs.cache_info().path
    (folder / "keep.txt").write_text("not an entry")
    (folder / ".left.tmp").touch()
    info = programs.cache_info()
    assert info.path == folder
    assert info.entries == 2
    assert info.bytes == sum(p.stat().st_size for p in folder.glob("*.clbin"))
    assert programs.clear_cache() == 2
    assert [p.name for p in entries()] == ["keep.txt"]


def test_defines(context, device, kernels):
    (kernels / "scale.cl").write_text(
        "#if A != 3 || B != 1 || C != 7\n#error wrong\n#endif\n"
        "__kernel void scale(__global float *x, uint n) {\n"
        "    if (get_global_id(0) < n) x[get_global_id(0)] *= FACTOR + TINY;\n}\n"
    )
    defines = {"A": 3, "B": True, "C": "(A+4)", "FACTOR": 2.0, "TINY": 1e-30}
    programs.build_program(context, device, "scale.cl", defines)
    # A double literal would need cl_khr_fp64.
    assert [programs._literal(v) for v in (1e-5, 2.0, 3, True, "x")] == [
        "1e-05f",
        "2.0f",
        "3",
        "1",
        "x",
    ]


def test_infinities_and_nans_survive_the_options(context, device, kernels):
    cl = import_pyopencl()
    (kernels / "scale.cl").write_text(
        "__kernel void scale(__global float *x, uint n) {\n"
        "    uint i = get_global_id(0);\n"
        "    float v = i < n ? x[i] : 0.0f;\n"
        "    if (i < n) x[i] = isinf(v) ? 1.0f : isnan(v) ? 2.0f : fmax(v, -INFINITY);\n}\n"
    )
    program = programs.build_program(context, device, "scale.cl", {})
    x = np.array([np.inf, -np.inf, np.nan, -5.0], np.float32)
    queue = cl.CommandQueue(context)
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    buffer = cl.Buffer(context, flags, hostbuf=x)
    cl.Kernel(program, "scale")(queue, (4,), (1,), buffer, np.uint32(4))
    cl.enqueue_copy(queue, x, buffer)
    queue.finish()
    np.testing.assert_array_equal(x, np.array([1, 1, 2, -5], np.float32))


def test_build_failure_names_file_line_device_options_and_driver(context, device, kernels):
    (kernels / "factor.cl").write_text("float factor(float x) {\n    return x * undeclared;\n}\n")
    with pytest.raises(KernelBuildError) as error:
        programs.build_program(context, device, "scale.cl", {"FACTOR": 2.0})
    first, *log = str(error.value).splitlines()
    assert first == (
        f"scale.cl does not build on device {device.label} (driver {device.driver}) "
        "with -cl-std=CL1.2 -cl-mad-enable -DFACTOR=2.0f; compiler's log:"
    )
    assert any("undeclared" in line for line in log)
    assert entries() == []


def test_build_failure_has_the_place_in_the_included_file(context, device, kernels):
    (kernels / "factor.cl").write_text("float factor(float x) {\n    return x * undeclared;\n}\n")
    with pytest.raises(KernelBuildError, match=r"factor\.cl:2"):
        programs.build_program(context, device, "scale.cl", {})


def test_compiler_remarks_are_no_warnings(context, device, kernels, caplog):
    (kernels / "scale.cl").write_text(
        "#warning a remark\n__kernel void scale(__global float *x, uint n) { int unused; }\n"
    )
    programs.build_program(context, device, "scale.cl", {})
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def expand(folder: Path, **files: str) -> str:
    for name, text in files.items():
        (folder / f"{name}.cl").write_text(text)
    return programs.expand_includes(folder, "a.cl")


def test_includes_keep_line_numbers(tmp_path):
    text = expand(tmp_path, a='one\n  # include "b.cl" // why\nthree\n', b="B\n")
    assert text == '#line 1 "a.cl"\none\n#line 1 "b.cl"\nB\n\n#line 3 "a.cl"\nthree\n'


def test_each_file_is_included_once_and_cycles_end(tmp_path):
    text = expand(
        tmp_path,
        a='#include "b.cl"\n#include "c.cl"\n#include "a.cl"\nA\n',
        b='#include "c.cl"\nB\n',
        c='#include "b.cl"\nC\n',
    )
    assert [word for word in text.split() if word in "ABC"] == ["C", "B", "A"]
    assert "#include" not in text


def test_includes_in_comments_and_strings_stay(tmp_path):
    body = '/*\n#include "x.cl"\n*/\n// #include "x.cl"\nconst char *s = "\\"/*";\n#include <h>\n'
    assert expand(tmp_path, a=body) == '#line 1 "a.cl"\n' + body


def test_missing_files_are_named(tmp_path):
    with pytest.raises(KernelBuildError, match=r"^gone\.cl, included by a\.cl: cannot be read in"):
        expand(tmp_path, a='#include "gone.cl"\n')
    with pytest.raises(KernelBuildError, match=r"^nowhere\.cl: cannot be read in"):
        programs.expand_includes(tmp_path, "nowhere.cl")


def test_kernels_folder_of_wheel_and_checkout(tmp_path, monkeypatch):
    module = tmp_path / "cl_llama" / "opencl" / "programs.py"
    module.parent.mkdir(parents=True)
    monkeypatch.setattr(programs, "__file__", str(module))
    with pytest.raises(KernelBuildError, match="no kernels folder"):
        programs.kernels_dir()
    (tmp_path / "kernels").mkdir()
    assert programs.kernels_dir() == tmp_path / "kernels"
    (tmp_path / "cl_llama" / "kernels").mkdir()
    assert programs.kernels_dir() == tmp_path / "cl_llama" / "kernels"
