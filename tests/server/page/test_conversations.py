"""The list of conversations, texts that go on, and what belongs to no single answer."""

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytest.importorskip("playwright", reason="no browser tests: playwright is not installed")

from playwright.sync_api import expect

from tests.server.page.test_chat import answers, ask, button, done, kept, send


def titles(page: "Page") -> "Locator":
    return page.locator(".list .title")


def test_conversations_are_renamed_found_and_deleted(chat, visit):
    chat.script.answers |= {"Apples": "They are round.", "Pears": "They are not."}
    page = visit(chat.url)
    for question in ("Apples", "Pears"):
        button(page, "New").click()
        ask(page, question)
    expect(titles(page)).to_have_text(["Pears", "Apples"])
    page.locator(".item").first.hover()
    button(page, "Rename “Pears”").click()
    page.get_by_label("New title").fill("Fruit")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Fruit")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("ROUND")
    expect(titles(page)).to_have_text(["Apples"])
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text("They are round.")
    page.locator("#search").fill("")
    page.locator(".item").first.hover()
    button(page, "Delete “Fruit”").click()
    expect(titles(page)).to_have_text(["Apples"])
    button(page, "Undo").click()
    expect(titles(page)).to_have_text(["Fruit", "Apples"])
    kept(page, '"title":"Fruit"')
    page.reload()
    expect(titles(page)).to_have_text(["Fruit", "Apples"])


def test_they_move_to_another_browser_as_a_file(chat, visit, tmp_path):
    chat.script.answers["Apples"] = "They are round."
    page = visit(chat.url)
    ask(page, "Apples")
    with page.expect_download() as download:
        button(page, "Export all conversations").click()
    path = tmp_path / "conversations.json"
    download.value.save_as(path)
    other = visit(chat.url)
    damaged = json.loads(path.read_text(encoding="utf-8"))
    damaged["conversations"][0]["messages"] = 5
    for content, line in (
        ("no JSON", "x.json is not JSON."),
        ("{}", "x.json holds no conversations of this page."),
        (json.dumps(damaged), "x.json: conversation 1 is damaged."),
        (path.read_text(encoding="utf-8"), "Imported: 1."),
    ):
        file = {"name": "x.json", "mimeType": "application/json", "buffer": content.encode()}
        other.locator("#import-file").set_input_files(file)
        expect(other.locator("#toast")).to_contain_text(line)
    titles(other).click()
    expect(answers(other)).to_have_text("They are round.")


def test_two_tabs_show_the_same_and_lose_nothing(chat, visit):
    chat.script.answers |= {"Apples": "They are round.", "And pears?": "They are not."}
    one = visit(chat.url)
    ask(one, "Apples")
    two = visit(one.url, one.context)
    expect(answers(two)).to_have_text("They are round.")
    ask(two, "And pears?")
    expect(answers(one)).to_have_text(["They are round.", "They are not."])
    button(one, "Delete message").last.click()
    expect(answers(two)).to_have_text(["They are round."])


def test_a_browser_without_room_keeps_the_tab_alive(chat, visit):
    chat.script.answers["Apples"] = "They are round."
    page = visit(chat.url)
    page.evaluate(
        """() => {
          IDBObjectStore.prototype.put = () => {
            throw new DOMException("no room", "QuotaExceededError");
          };
        }"""
    )
    ask(page, "Apples")
    expect(page.locator("#toast")).to_contain_text("no room")
    expect(answers(page)).to_have_text("They are round.")


def test_a_model_without_a_template_goes_on_with_a_text(story, visit):
    story.script.answers |= {
        "Once upon": " a time, there was a cat.",
        "Once upon a time, there was a cat. It": " slept.",
        "": "All by itself.",
    }
    page = visit(story.url)
    expect(page.get_by_role("heading", name="Write the beginning")).to_be_visible()
    text = page.locator(".story-text")
    page.get_by_role("textbox", name="Message").fill("Once upon  ")
    page.keyboard.press("Enter")
    expect(text).to_have_text("Once upon a time, there was a cat.")
    expect(page.get_by_text("The end")).to_be_visible()
    done(page)
    send(page, "It")
    expect(text).to_have_text("Once upon a time, there was a cat. It slept.")
    done(page)
    expect(page.locator(".piece.user")).to_have_text(["Once upon", "It"])
    button(page, "Take the last piece back").click()
    expect(text).to_have_text("Once upon a time, there was a cat. It")
    button(page, "Edit the text").click()
    page.get_by_role("textbox", name="Edit the text").fill("Once upon a time, there was a dog.")
    button(page, "Keep").click()
    expect(text).to_have_text("Once upon a time, there was a dog.")
    kept(page, "a dog.")
    page.reload()
    expect(text).to_have_text("Once upon a time, there was a dog.")
    button(page, "New").click()
    button(page, "Surprise me").click()
    expect(text).to_have_text("All by itself.")


def test_colours_follow_the_system_or_the_switch(chat, visit):
    page = visit(chat.url, color_scheme="dark")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert dark != light
    button(page, "Colours: as the system").click()
    button(page, "Colours: light").click()
    expect(button(page, "Colours: dark")).to_be_visible()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark


def test_keys(chat, visit):
    chat.script.answers["日本\nNippon"] = "Yes."
    page = visit(chat.url)
    field = page.get_by_role("textbox", name="Message")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    field.fill("日本")
    # An input method's Enter chooses a word.
    field.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Nippon")
    assert page.locator(".message").count() == 0
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_text("Yes.")
    done(page)
    page.locator("#heading").click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    page.keyboard.press("Control+Shift+o")
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()


def test_on_a_phone_the_list_is_a_drawer(chat, visit):
    chat.script.answers["Apples"] = "They are round."
    page = visit(chat.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    ask(page, "Apples")
    expect(titles(page)).to_be_hidden()
    button(page, "Conversations").click()
    expect(titles(page)).to_be_visible()
    expect(button(page, "Close the list")).to_be_focused()
    page.keyboard.press("Escape")
    expect(titles(page)).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_end_is_followed_only_by_who_is_there(chat, visit):
    chat.script.answers["Count"] = "\n\n".join(f"line {n}" for n in range(100))
    chat.script.pause_after(500)
    page = visit(chat.url)
    send(page, "Count")
    expect(answers(page)).to_contain_text("line 50")
    scroller = page.locator("#scroller")
    expect(page.get_by_text("line 50")).to_be_in_viewport()
    scroller.evaluate("element => { element.scrollTop = 0; }")
    expect(button(page, "To the end")).to_be_visible()
    chat.script.pause_after(None)
    done(page)
    expect(answers(page)).to_contain_text("line 99")
    assert scroller.evaluate("element => element.scrollTop") == 0
    button(page, "To the end").click()
    expect(page.get_by_text("line 99")).to_be_in_viewport()
