"""Host memory that buffers are made over."""

import mmap

import numpy as np
import pytest

from cl_llama.opencl import host_memory
from cl_llama.opencl.host_memory import HUGE_PAGE, huge_pages
from cl_llama.opencl.runtime import Runtime


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="no huge pages on this system")
@pytest.mark.parametrize("nbytes", [HUGE_PAGE, HUGE_PAGE + 1, 3 * HUGE_PAGE - 5, 5 * HUGE_PAGE])
def test_huge_pages(nbytes: int) -> None:
    memory = huge_pages(nbytes)
    assert memory is not None
    assert memory.shape == (nbytes,)
    assert memory.ctypes.data % HUGE_PAGE == 0
    assert not memory.any()
    memory[:] = 255
    assert memory.all()


def test_a_large_buffer_is_like_any_other(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 256, HUGE_PAGE + 12345, np.uint8)
    first = runtime.from_numpy(values)
    monkeypatch.setattr(host_memory, "_HUGEPAGE", None)  # a system without huge pages
    second = runtime.from_numpy(values)
    np.testing.assert_array_equal(first.numpy(), values)
    np.testing.assert_array_equal(second.numpy(), values)
    changed = np.arange(1000, dtype=np.uint8)
    runtime.write(first.buffer, changed, offset=HUGE_PAGE)
    np.testing.assert_array_equal(first.numpy()[HUGE_PAGE : HUGE_PAGE + 1000], changed)
    np.testing.assert_array_equal(first.numpy()[:HUGE_PAGE], values[:HUGE_PAGE])
