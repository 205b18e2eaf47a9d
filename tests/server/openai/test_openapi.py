"""The OpenAPI document tells the truth: requests made of it get the answers that it describes."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.conftest import RunningServer, serving
from tests.server.openai.byte_model import byte_llama

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with byte_llama(max_seq_len=128) as llm, serving(llm) as running:
        yield running


@pytest.fixture(scope="module")
def document(server: RunningServer):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize(
    ("mode", "method", "path"),
    [
        *(("positive", *operation) for operation in OPERATIONS),
        *(("negative", *operation) for operation in OPERATIONS if operation[0] == "POST"),
    ],
)
def test_requests_of_every_kind(document, mode: str, method: str, path: str):
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    @settings(
        max_examples=25,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and case.body.get("n") in range(4, 129):
            case.body["n"] = 3  # so that no request takes long
        response = case.call(timeout=60)
        case.validate_response(response, checks=CHECKS)

    ask()


def test_every_endpoint_of_the_api_is_in_the_document(http: httpx.Client):
    paths = http.get("/openapi.json").json()["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert set(OPERATIONS) <= told
    for method, path in OPERATIONS:
        assert "422" not in paths[path][method.lower()]["responses"]
