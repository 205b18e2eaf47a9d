"""A loaded model whose device fails: it is loaded anew, and says what it said before."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from cl_llama.engine import recovery
from cl_llama.engine.params import SamplingParams
from cl_llama.errors import DeviceError
from cl_llama.llm import Llama
from cl_llama.opencl.devices import DeviceInfo
from cl_llama.opencl.runtime import Runtime
from tests.small_model import write_small_model

GREEDY = SamplingParams(max_new_tokens=30, temperature=0.0)
PROMPTS = ["Once upon a time there was", "The dog"]


def fail_once(monkeypatch: pytest.MonkeyPatch, method: str, at: int) -> None:
    """The `at`th call of one of the runtime's methods from now on raises, as failed commands do."""
    plain, calls = getattr(Runtime, method), 0

    def counted(self: Runtime, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise DeviceError(f"{self.device.label}: {method}: OUT_OF_RESOURCES")
        return plain(self, *arguments)

    monkeypatch.setattr(Runtime, method, counted)


@pytest.mark.parametrize(
    ("source", "method", "at"),
    [("embedded", "launch", 40), ("embedded", "replay", 3), ("drafted", "read", 5)],
)
def test_texts_after_it_equal_those_before(
    device: DeviceInfo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    method: str,
    at: int,
):
    path, draft = None, None
    if source == "drafted":
        (tmp_path / "draft").mkdir()
        path = write_small_model(tmp_path, n_layers=12)
        draft = write_small_model(tmp_path / "draft", n_layers=1)
    monkeypatch.setattr(recovery, "PAUSES", (0.0,))
    with Llama.from_pretrained(path, device=device.index, draft=draft, cache_tokens=600) as llm:
        assert llm.engine.model.num_blocks == 19
        assert llm.max_seq_len == llm.config.max_seq_len < 600
        before = llm.generate(PROMPTS, GREEDY)
        logits = llm.logits(before[0].prompt_token_ids)
        old = llm.engine.model
        held = [weakref.ref(old.caches[0].keys), weakref.ref(old._weights.layers[-1].o)]
        fail_once(monkeypatch, method, at)
        with pytest.raises(DeviceError, match="OUT_OF_RESOURCES"):
            llm.generate(PROMPTS, GREEDY)
        after = llm.generate(PROMPTS, GREEDY)
        assert [a.text for a in after] == [b.text for b in before]
        assert (llm.logits(before[0].prompt_token_ids) == logits).all()
        status = llm.engine.status()
        assert (status.state, status.rebuilds) == ("ready", 1)
        assert llm.engine.model is not old
        assert llm.engine.model.num_blocks == old.num_blocks
        gc.collect()
        assert [ref() for ref in held] == [None, None]
        assert (status.draft_tokens > 0) == (source == "drafted")
    assert llm.engine.status().state == "closed"
