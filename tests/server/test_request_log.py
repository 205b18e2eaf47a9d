"""What is logged of a request, and what is not; the page that describes the endpoints."""

import logging
import re

import pytest

from cl_llama.server.settings import RLLAMA_PATH, ServerSettings
from tests.server.conftest import paged_llama


@pytest.mark.parametrize("log_prompts", [False, True])
def test_one_line_for_a_request(serve, caplog, log_prompts):
    caplog.set_level(logging.INFO, logger="cl_llama.server")
    server = serve(paged_llama(), ServerSettings(log_prompts=log_prompts))
    body = {"prompt": "Once upon", "max_new_tokens": 5, "stop_at_end_token": False}
    with server.client() as client:
        client.post(RLLAMA_PATH, json=body)
        client.post(RLLAMA_PATH, json={"prompt": "Once", "temperature": -1})
        client.get("/a%0A2026-01-01 00:00:00 GET /forged 200?q=Once")
        client.get("/health")
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    prompts = [line for line in lines if "Once" in line]
    rest = [re.sub(r"[\d.]+ s$", "S s", line) for line in lines if "Once" not in line]
    assert rest == [
        f"POST {RLLAMA_PATH} 200 3+5 tokens S s",
        f"POST {RLLAMA_PATH} 400 S s",
        r"GET /a\x0a2026-01-01 00:00:00 GET /forged 200 404 S s",
    ]
    assert prompts == (['prompt: "<s> Once upon"'] if log_prompts else [])


def test_the_page_of_endpoints(serve):
    with serve(paged_llama()).client() as client:
        page = client.get("/docs").text
        described = client.get("/openapi.json").json()
    for path in described["paths"]:
        assert f" {path}</code>" in page
    assert "no_token_sampling</code></dt><dd>default false. Answer with the prob" in page
    assert "<script" not in page and "http://" not in page and "https://" not in page
    responses = described["paths"][RLLAMA_PATH]["post"]["responses"]
    assert "422" not in responses
    assert {"200", "400", "401", "406", "413", "415", "429", "500", "503", "504"} <= set(responses)
