"""A decode step like those before it takes no memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cl_llama.models.batch import Batch
from cl_llama.opencl.runtime import Family, Runtime
from tests.models import fixture_models
from tests.models.fixture_models import slice_of


def test_it_makes_no_buffer(
    runtime: Runtime, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fixture_models.load("llama3-gqa", runtime, family=family)
    table = np.arange(model.num_blocks, dtype=np.int32)
    made: list[str] = []

    def noting(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            return plain(*args, **kwargs)

        return call

    for owner, name in ((runtime._cl, "Buffer"), (runtime, "part"), (runtime, "kernel")):
        monkeypatch.setattr(owner, name, noting(name, getattr(owner, name)))
    for position in range(28):
        if position == 8:
            assert {"part", "kernel"} <= set(made)
            made.clear()
        ids = np.array([position], np.int32)
        model.forward(Batch((slice_of(ids, position, table),))).argmax()
    assert made == ["kernel"] * 20  # argmax looks up its own; the others are repeated
