"""/metrics."""

from cl_llama.server.settings import RLLAMA_PATH
from tests.server.conftest import paged_llama


def test_counts(serve):
    server = serve(paged_llama())
    with server.client() as client:
        for prompt in ("Once upon a world", "Once upon a world"):
            body = {"prompt": prompt, "max_new_tokens": 5, "stop_at_end_token": False}
            client.post(RLLAMA_PATH, json=body)
        client.post(RLLAMA_PATH, json={})
        client.get("/made/up")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    requests = "cl_llama_http_requests_total"
    assert values[f'{requests}{{method="POST",path="{RLLAMA_PATH}",status="200"}}'] == "2.0"
    assert values[f'{requests}{{method="POST",path="{RLLAMA_PATH}",status="400"}}'] == "1.0"
    assert values[f'{requests}{{method="GET",path="other",status="404"}}'] == "1.0"
    length = len(server.llm.prompt_ids("Once upon a world"))
    assert values["cl_llama_generated_tokens_total"] == "10.0"
    assert values["cl_llama_prompt_tokens_total"] == f"{2 * length}.0"
    assert float(values["cl_llama_cached_tokens_total"]) == 4 * ((length - 1) // 4) > 0
    assert values["cl_llama_time_to_first_token_seconds_count"] == "2.0"
    assert values["cl_llama_time_per_token_seconds_count"] == "2.0"
    assert values["cl_llama_queue_seconds_count"] == "2.0"
    assert values["cl_llama_ready"] == "1.0"
    assert values["cl_llama_requests_running"] == values["cl_llama_requests_waiting"] == "0.0"
    blocks = {s: float(values[f'cl_llama_cache_blocks{{state="{s}"}}']) for s in ("free", "idle")}
    assert sum(blocks.values()) == 64 and blocks["idle"] > 0
    assert 'path="/made/up"' not in answer.text
