"""Service and AnswerStream over real HTTP, by a small app of the test's own endpoints."""

from fastapi import Request
from fastapi.responses import StreamingResponse

from cl_llama.engine.params import SamplingParams
from tests.server.conftest import paged_llama

PARAMS = SamplingParams(temperature=0.0, max_new_tokens=12, stop_token_ids=())


def test_health(serve):
    with serve(paged_llama()).client() as client:
        answer = client.get("/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert client.get("/nowhere").json() == {
            "error": "there is nothing at /nowhere; /openapi.json lists what there is"
        }
        assert client.get("/v1/nowhere").json()["error"]["type"] == "invalid_request_error"
        assert client.post("/health").status_code == 405


def test_a_text_is_streamed_as_generate_makes_it(serve):
    server = serve(paged_llama())

    @server.app.get("/text")
    async def text(request: Request) -> StreamingResponse:
        service = request.app.state.service

        async def pieces():
            async with await service.start(lambda: server.llm.stream("Once", PARAMS)) as answer:
                async for piece in answer:
                    yield piece.text
                assert answer.finish_reason == "length"
                assert answer.stats.generated_tokens == 12

        return StreamingResponse(pieces())

    with server.client() as client:
        assert client.get("/text").text == server.llm.generate("Once", PARAMS).text
