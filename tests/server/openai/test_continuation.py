"""An answer whose beginning is there already."""

import httpx

from tests.server.openai.byte_model import byte_llama

QUESTION = {"role": "user", "content": "Hello"}
GREEDY = {"temperature": 0, "max_tokens": 8}


def test_an_answer_goes_on_where_it_stopped(http: httpx.Client):
    begun = {"role": "assistant", "content": "Good mor"}
    body = {"messages": [QUESTION, begun], "continue_final_message": True, **GREEDY}
    answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
    with byte_llama() as llm:
        prompt = llm.chat_prompt([QUESTION]) + "Good mor"
        ids = llm.prompt_ids(prompt)
    rest = http.post("/v1/completions", json={"prompt": ids, **GREEDY}).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == rest["choices"][0]["text"]
    assert answer["usage"]["prompt_tokens"] == len(ids)


def test_only_an_answer_can_go_on(http: httpx.Client):
    body = {"messages": [QUESTION], "continue_final_message": True}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "continue_final_message"
