"""Chats in a browser: what a person does, and what the page and the server make of it."""

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Route

pytest.importorskip("playwright", reason="no browser tests: playwright is not installed")

from playwright.sync_api import expect


def send(page: "Page", text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")


def answers(page: "Page") -> "Locator":
    return page.get_by_role("article", name="Model").locator(".answer")


def done(page: "Page") -> None:
    """Waits until no answer is being written."""
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def button(page: "Page", name: str) -> "Locator":
    return page.get_by_role("button", name=name, exact=True)


def ask(page: "Page", text: str) -> None:
    count = answers(page).count()
    send(page, text)
    expect(answers(page)).to_have_count(count + 1)
    done(page)


def kept(page: "Page", what: str) -> None:
    """Waits until the browser's store holds a conversation in whose JSON is `what`."""
    read = """async () => {
      const done = (request) => new Promise((resolve) => {
        request.onsuccess = () => resolve(request.result);
      });
      const database = await done(indexedDB.open("cl-llama"));
      const records = database.transaction("conversations").objectStore("conversations");
      const all = await done(records.getAll());
      database.close();
      return all.map((one) => JSON.stringify(one));
    }"""
    deadline = time.monotonic() + 30
    while not any(what in one for one in page.evaluate(read)):
        assert time.monotonic() < deadline, f"not kept: {what}"


def test_an_answer_streams_and_stays_after_a_reload(chat, visit):
    chat.script.answers["Hello"] = "Good *morning*, dear reader."
    chat.script.pause_after(14)
    page = visit(chat.url)
    send(page, "Hello")
    expect(answers(page)).to_have_text("Good morning")
    expect(answers(page).locator("em")).to_have_text("morning")
    expect(page.locator(".stats")).to_be_visible()
    chat.script.pause_after(None)
    done(page)
    expect(answers(page)).to_have_text("Good morning, dear reader.")
    # The template's prompt, a token a byte, and the answer with its end.
    tokens = len(chat.script.prompts[0].replace("<|im_start|>", "S").replace("<|im_end|>", "E"))
    expect(page.locator(".stats")).to_contain_text("29 tokens")
    expect(page.locator(".stats")).to_contain_text(f"context {tokens + 29} of 4,096")
    expect(page.locator("#meter")).to_have_text(f"{tokens + 29} of 4,096 tokens of context")
    expect(page.locator("#model")).to_contain_text(chat.server.service.model_name)
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")
    expect(page.locator("#announcements")).to_contain_text("Good *morning*")
    kept(page, '"finish":"stop"')
    page.reload()
    expect(answers(page)).to_have_text("Good morning, dear reader.")
    expect(page.locator(".bubble")).to_have_text("Hello")
    expect(page.locator(".list .title")).to_have_text("Hello")


def test_stop_keeps_what_has_come_and_it_can_go_on(chat, visit):
    chat.script.answers["Count"] = "one two three"
    chat.script.pause_after(7)
    page = visit(chat.url)
    send(page, "Count")
    expect(answers(page)).to_have_text("one two")
    page.keyboard.press("Escape")
    expect(page.locator(".note")).to_contain_text("Stopped.")
    chat.script.pause_after(10)
    kept(page, '"finish":"stopped"')
    page.reload()
    button(page, "Go on from here").click()
    expect(answers(page)).to_have_text("one two th")
    button(page, "Stop").click()
    expect(page.locator(".note")).to_contain_text("Stopped.")
    chat.script.pause_after(None)
    button(page, "Go on from here").click()
    expect(answers(page)).to_have_text("one two three")
    done(page)
    assert chat.script.prompts == chat.script.prompts[:1]


HOSTILE = (
    "<script>window.ran = 1</script> <img src=x onerror='window.ran = 2'> "
    "[click](javascript:window.ran=3) [data](data:text/html,<script>) <b>bold</b>\n\n"
    "<iframe src='javascript:window.ran=4'></iframe>\n\n"
    "![picture](https://example.org/x.png) [good](https://example.org/?a=1&b=2)\n\n"
    "```html\n<script>window.ran = 5</script>\n```"
)


def test_an_answer_never_runs(chat, visit):
    chat.script.answers["Attack"] = HOSTILE
    page = visit(chat.url)
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    ask(page, "Attack")
    answer = answers(page)
    expect(answer).to_contain_text("<script>window.ran = 1</script> <img src=x onerror=")
    expect(answer.locator("pre")).to_have_text("<script>window.ran = 5</script>")
    assert answer.locator("script, img, iframe, b, [onerror]").count() == 0
    links = answer.locator("a")
    assert links.evaluate_all("all => all.map(a => a.href)") == [
        "https://example.org/x.png",
        "https://example.org/?a=1&b=2",
    ]
    assert (
        links.evaluate_all("all => all.map(a => [a.target, a.rel])")
        == [["_blank", "noopener noreferrer"]] * 2
    )
    answer.get_by_text("click").click()
    kept(page, '"finish":"stop"')
    page.reload()
    expect(answer).to_contain_text("window.ran=4")
    assert page.evaluate("window.ran") is None
    assert all(url.startswith(chat.url) for url in requested)


def test_the_browser_would_not_run_it_either(chat, browser):
    """What no module does is tried from outside: HTML, a script, a handler, a style, a request."""
    tries = """async (address) => {
      const stopped = (window.stopped = []);
      document.addEventListener("securitypolicyviolation", (event) => {
        stopped.push(event.effectiveDirective);
      });
      const attempts = [
        () => { document.body.innerHTML = "<b>x</b>"; },
        () => { document.createElement("script").text = "window.ran = 1"; },
        () => { document.createElement("b").setAttribute("onclick", "window.ran = 2"); },
      ];
      for (const attempt of attempts) {
        try { attempt(); } catch (error) { stopped.push(error.name); }
      }
      document.body.append(Object.assign(document.createElement("img"), { src: address }));
      await fetch(address).catch((error) => stopped.push(`fetch: ${error.name}`));
    }"""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(chat.url)
        page.evaluate(tries, "http://127.0.0.1:9/x.png")
        expected = {"TypeError", "fetch: TypeError", "img-src", "connect-src"}
        deadline = time.monotonic() + 30
        while missing := expected - set(page.evaluate("window.stopped")):
            assert time.monotonic() < deadline, missing
        assert page.evaluate("window.stopped").count("TypeError") == 3
        assert page.locator("#composer").count() == 1
        assert page.evaluate("window.ran") is None


def test_another_answer_keeps_the_first(chat, visit):
    chat.script.answers["Name a colour"] = "Red"
    page = visit(chat.url)
    ask(page, "Name a colour")
    chat.script.answers["Name a colour"] = "Blue"
    button(page, "Another answer").click()
    expect(answers(page)).to_have_text("Blue")
    expect(page.locator(".alternatives")).to_have_text("2 / 2")
    done(page)
    button(page, "Earlier version").click()
    expect(answers(page)).to_have_text("Red")
    expect(button(page, "Later version")).to_be_focused()
    red = page.get_by_role("article", name="Model").get_attribute("data-id")
    kept(page, f':"{red}"}}')
    page.reload()
    expect(answers(page)).to_have_text("Red")
    button(page, "Delete message").last.click()
    expect(answers(page)).to_have_text(["Blue"])
    button(page, "Undo").click()
    expect(page.locator(".alternatives")).to_have_text("1 / 2")
    for rest in (1, 0):
        button(page, "Delete message").last.click()
        expect(answers(page)).to_have_count(rest)
    chat.script.answers["Name a colour"] = "Green"
    button(page, "Send").click()
    expect(answers(page)).to_have_text("Green")


def test_an_edited_question_is_another_branch(chat, visit):
    chat.script.answers |= {"One": "first", "Two": "second", "Three": "third"}
    page = visit(chat.url)
    ask(page, "One")
    ask(page, "Two")
    page.keyboard.press("ArrowUp")
    editor = page.get_by_role("textbox", name="Edit the message")
    expect(editor).to_have_value("Two")
    editor.fill("Three")
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text(["first", "third"])
    done(page)
    assert "second" not in chat.script.prompts[-1]
    button(page, "Earlier version").click()
    expect(answers(page)).to_have_text(["first", "second"])


def test_settings_reach_the_request_and_stay(chat, visit):
    chat.script.answers["Hi"] = "yes. no."
    page = visit(chat.url)
    button(page, "Settings").click()
    for label, value in (
        ("System prompt", "Be brief."),
        ("Top-k", "7"),
        ("Longest answer", "100"),
        ("Seed", "42"),
        ("Stop at", "no\n"),
    ):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("spinbutton", name="Temperature").fill("0")
    page.keyboard.press("Escape")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Hi")
    body = sent.value.post_data_json
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert (body["temperature"], body["top_k"], body["max_tokens"]) == (0, 7, 100)
    assert (body["seed"], body["stop"], body["top_p"], body["min_p"]) == (42, ["no"], 0.95, 0.05)
    assert "Be brief." in chat.script.prompts[-1]
    expect(answers(page)).to_have_text("yes.")
    kept(page, '"finish":"stop"')
    page.reload()
    button(page, "Settings").click()
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")
    button(page, "Reset").click()
    expect(page.get_by_role("spinbutton", name="Temperature")).to_have_value("0.8")


def test_a_key_is_asked_for_and_kept_in_the_tab(guarded, visit):
    guarded.script.answers["Hello"] = "Come in."
    page = visit(guarded.url)
    page.locator("#key").fill("wrong")
    button(page, "Use this key").click()
    expect(page.locator("#key-problem")).to_be_visible()
    page.locator("#key").fill("right")
    button(page, "Use this key").click()
    expect(page.locator("#model")).not_to_be_empty()
    ask(page, "Hello")
    kept(page, '"finish":"stop"')
    page.reload()
    expect(answers(page)).to_have_text("Come in.")
    ask(page, "Hello")
    stored = page.evaluate("JSON.stringify([{...localStorage}, document.cookie])")
    assert "right" not in stored
    button(page, "New").click()
    page.evaluate("sessionStorage.clear()")
    page.reload()
    button(page, "Not now").click()
    ask(page, "Hello")
    page.locator("#key").fill("right")
    button(page, "Use this key").click()
    expect(answers(page)).to_have_text("Come in.")


def test_a_busy_server_is_asked_again(chat, visit):
    chat.script.answers["Hello"] = "Now I have time."
    page = visit(chat.url)
    refusals = [503, 429]

    def refuse(route: "Route") -> None:
        if refusals:
            wait = {"Retry-After": "0.2"}
            route.fulfill(status=refusals.pop(), headers=wait, json={"error": {"message": "full"}})
        else:
            route.continue_()

    page.route("**/v1/chat/completions", refuse)
    ask(page, "Hello")
    expect(answers(page)).to_have_text("Now I have time.")
    assert not refusals


def chunk(**fields: object) -> str:
    return f"data: {json.dumps(fields)}\n\n"


HALF = chunk(choices=[{"index": 0, "delta": {"content": "Half an"}, "finish_reason": None}])
FAILURES = {
    "breaks off": ({"body": HALF, "content_type": "text/event-stream"}, "broke off", "Half an"),
    "tells an error": (
        {
            "body": HALF + chunk(error={"message": "the device failed"}),
            "content_type": "text/event-stream",
        },
        "the device failed",
        "Half an",
    ),
    "is refused": (
        {"status": 400, "json": {"error": {"message": "top_k: no"}}},
        "top_k: no",
        "",
    ),
    "answers with a page": ({"status": 500, "body": "<h1>Oops</h1>"}, "500", ""),
}


def answer_with(fulfilment: dict, route: "Route") -> None:
    route.fulfill(**fulfilment)


def test_what_goes_wrong_is_told_and_can_be_tried_again(chat, visit):
    page = visit(chat.url)
    for name, (fulfilment, told, came) in FAILURES.items():
        chat.script.answers[name] = "A whole answer."
        button(page, "New").click()
        answer = partial(answer_with, fulfilment)
        page.route("**/v1/chat/completions", answer, times=1)
        ask(page, name)
        expect(page.locator(".note.problem")).to_contain_text(told)
        expect(answers(page)).to_have_text(came)
        button(page, "Write it anew" if came else "Try again").click()
        expect(answers(page)).to_have_text("A whole answer.")
        expect(page.locator(".note")).to_have_count(0)
        expect(page.locator(".alternatives")).to_have_count(1 if came else 0)
        done(page)


def test_a_full_context_is_told(chat, visit):
    page = visit(chat.url)
    ask(page, "long " * 1000)
    expect(page.locator(".note.problem")).to_contain_text("The context is full")
    page.locator(".note").get_by_role("button", name="New conversation").click()
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def test_a_server_that_is_gone_is_waited_for(chat, visit):
    chat.script.answers["Hello"] = "Back again."
    page = visit(chat.url)
    expect(page.locator("#model")).not_to_be_empty()
    page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    ask(page, "Hello")
    expect(page.locator(".note.problem")).to_contain_text("The server does not answer.")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
    page.unroute("**/v1/**")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    expect(page.get_by_role("alert")).to_be_hidden()
    button(page, "Try again").click()
    expect(answers(page)).to_have_text("Back again.")
