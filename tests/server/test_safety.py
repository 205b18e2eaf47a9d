"""Who is served, and what of a request is taken."""

import contextlib
import socket
import time

import pytest

from cl_llama.server.settings import RLLAMA_PATH, ServerSettings
from tests.server.conftest import paged_llama

BODY = {"prompt": "Once", "max_new_tokens": 2}
JSON = {"Content-Type": "application/json"}


def statuses(client, headers):
    return {
        path: client.post(path, json=BODY, headers=headers).status_code
        if path == RLLAMA_PATH
        else client.get(path, headers=headers).status_code
        for path in (RLLAMA_PATH, "/metrics", "/health", "/docs", "/openapi.json")
    }


def test_keys(serve):
    server = serve(paged_llama(), ServerSettings(api_keys=("first", "zweiter Schlüssel")))
    everything = (RLLAMA_PATH, "/metrics", "/health", "/docs", "/openapi.json")
    with server.client() as client:
        for key in ("first", "zweiter Schlüssel"):
            headers = {"Authorization": f"Bearer {key}".encode()}
            assert statuses(client, headers) == dict.fromkeys(everything, 200)
        for wrong in ({}, {"Authorization": "Bearer firs"}, {"Authorization": "Basic first"}):
            assert statuses(client, wrong) == dict.fromkeys(everything, 200) | {
                RLLAMA_PATH: 401,
                "/metrics": 401,
            }
        answer = client.post(RLLAMA_PATH, json=BODY)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer KEY" in answer.json()["error"]
        error = client.post("/v1/chat/completions", json={}).json()["error"]
        assert error["type"] == "authentication_error"
        assert error["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1234", 200),
        ("127.0.0.1", 200),
        ("[::1]:8080", 200),
        ("page.localhost", 200),
        ("LLM.example.org.", 200),
        ("evil.example.org", 403),
        ("localhost.evil.example.org", 403),
    ],
)
def test_names_that_a_web_page_gave_this_machine(serve, host, status):
    server = serve(paged_llama(), ServerSettings(allowed_hosts=("llm.example.org",)))
    with server.client() as client:
        assert client.post(RLLAMA_PATH, json=BODY, headers={"Host": host}).status_code == status


def test_a_form_of_a_web_page_starts_nothing(serve):
    server = serve(paged_llama())
    with server.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = client.post(
                RLLAMA_PATH, content=b'{"prompt": "Once"}', headers={"Content-Type": kind}
            )
            assert answer.status_code == 415
            assert answer.json()["error"].endswith(f"must be application/json, got '{kind}'")
        assert client.post(RLLAMA_PATH, content=b'{"prompt": "Once"}').status_code == 415
    assert server.llm.engine.status().steps == 0


def test_other_origins_only_where_asked(serve):
    asks = {
        "Origin": "https://chat.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with serve(paged_llama()).client() as client:
        answer = client.options(RLLAMA_PATH, headers=asks)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]
    settings = ServerSettings(cors_origins=("https://chat.example.org",), api_keys=("key",))
    with serve(paged_llama(), settings).client() as client:
        answer = client.options(RLLAMA_PATH, headers=asks)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.org"
        other = client.options(RLLAMA_PATH, headers=asks | {"Origin": "https://other.example.org"})
        assert "access-control-allow-origin" not in other.headers
        # The page can read why it was refused.
        refused = client.post(RLLAMA_PATH, json=BODY, headers={"Origin": asks["Origin"]})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://chat.example.org"


def test_security_headers_on_every_answer(serve):
    with serve(paged_llama()).client() as client:
        for answer in (client.get("/health"), client.get("/nowhere"), client.get("/docs")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the request's body is no JSON (at character 1: expecting property name"),
        (b'{"prompt": "\xff"}', "the request's body is no JSON that can be read"),
        (b"[" * 100_000, "the request's body is no JSON that can be read"),
        (b"[]", "the body: "),
        (b"{}", "prompt: field required"),
        (b"", "the body: field required"),
        (b'{"prompt": "a", "temperature": NaN}', "temperature must be a finite number"),
    ],
)
def test_malformed_bodies(serve, body, message):
    with serve(paged_llama()).client() as client:
        answer = client.post(RLLAMA_PATH, content=body, headers=JSON)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error.startswith(message) and "\n" not in error
        assert client.post(RLLAMA_PATH, json=BODY).status_code == 200


def test_large_bodies(serve):
    settings = ServerSettings(max_body_bytes=10_000)
    with serve(paged_llama(), settings).client() as client:
        large = b'{"prompt": "' + b"a" * 100_000 + b'"}'
        for content in (large, iter([large[i : i + 1000] for i in range(0, len(large), 1000)])):
            answer = client.post(RLLAMA_PATH, content=content, headers=JSON)
            assert answer.status_code == 413
            assert "10000 bytes" in answer.json()["error"]
            assert answer.headers["connection"] == "close"
        assert client.post(RLLAMA_PATH, json=BODY).status_code == 200
        chunked = iter([b'{"prompt": "Once", ', b'"max_new_tokens": 2}'])
        assert client.post(RLLAMA_PATH, content=chunked, headers=JSON).status_code == 200


def received(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


HEAD = f"POST {RLLAMA_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_slow_requests(serve):
    server = serve(paged_llama(), ServerSettings(idle_timeout=0.3))
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, timeout=60) as body_is_slow:
        body_is_slow.sendall(f'{HEAD}Content-Length: 100\r\n\r\n{{"prompt"'.encode())
        assert received(body_is_slow).startswith(b"HTTP/1.1 408 ")
    with socket.create_connection(address, timeout=60) as headers_are_slow:
        headers_are_slow.sendall(HEAD.encode())
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert received(headers_are_slow) == b""
        assert time.monotonic() - began < 30
    with server.client() as client:
        assert client.post(RLLAMA_PATH, json=BODY).status_code == 200


def test_what_is_no_http(serve):
    server = serve(paged_llama())
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 let us talk TLS\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 400 ")
    with server.client() as client:
        assert client.get("/health").status_code == 200
