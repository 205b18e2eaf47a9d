"""What clients see while a model is loaded anew after its device has failed, or cannot be."""

import threading

import pytest

from cl_llama.engine import recovery
from cl_llama.errors import DeviceError
from cl_llama.llm import Llama
from cl_llama.server.settings import RLLAMA_PATH
from tests.paged_model import PagedModel
from tests.server.conftest import Serve
from tests.server.test_faults import expected, text_of, until
from tests.test_llm import EOS, VOCABULARY, WordTokenizer

BODY = {"prompt": "Once", "temperature": 0, "stop_at_end_token": False, "max_new_tokens": 8}


def fails(_: object) -> None:
    raise DeviceError("clFinish: OUT_OF_RESOURCES")


@pytest.mark.parametrize("recovers", [True, False])
def test_a_device_that_failed(serve: Serve, monkeypatch: pytest.MonkeyPatch, recovers: bool):
    monkeypatch.setattr(recovery, "PAUSES", (0.0,))
    repaired = threading.Event()

    def rebuild() -> tuple[PagedModel, None]:
        repaired.wait(60)
        if not recovers:
            raise DeviceError("the device is lost")
        return PagedModel(vocab_size=len(VOCABULARY)), None

    model = PagedModel(vocab_size=len(VOCABULARY), before_forward=fails)
    server = serve(Llama(model, WordTokenizer(), end_ids=(EOS,), rebuild=rebuild))
    with server.client() as client:

        def health() -> tuple[int, str]:
            answer = client.get("/health")
            return answer.status_code, answer.json()["status"]

        failed = client.post(RLLAMA_PATH, json=BODY)
        assert (failed.status_code, failed.json()["error"]) == (500, "clFinish: OUT_OF_RESOURCES")
        until(lambda: health() == (503, "rebuilding"))
        early = client.post(RLLAMA_PATH, json=BODY)
        assert (early.status_code, early.headers["retry-after"]) == (503, "2")
        repaired.set()
        until(lambda: health() == ((200, "ok") if recovers else (503, "failed")))
        after = client.post(RLLAMA_PATH, json=BODY)
        if recovers:
            assert text_of(after) == expected("Once", 8)
            assert "cl_llama_rebuilds_total 1.0" in client.get("/metrics").text
        else:
            assert after.status_code == 500
            assert "the device is lost" in after.json()["error"]
