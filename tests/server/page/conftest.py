"""A browser without a window, and servers whose model says what a test wants."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cl_llama.server.settings import ServerSettings
from tests.server.conftest import RunningServer, serving
from tests.server.page.scripted_model import Script, scripted_llama

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

TIMEOUT_MS = 30_000
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    """One for all tests here; skipped where there is none, or nothing to drive it.

    Not for the session: its event loop runs in the tests' thread, and stops others from starting.
    """
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("no browser tests: playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser tests: none of {', '.join(NAMES)} is on the PATH")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        flags = ["--disable-gpu", "--disable-dev-shm-usage"]
        if getattr(os, "geteuid", lambda: 1)() == 0:
            flags.append("--no-sandbox")  # the sandbox does not run as root
        with playwright.chromium.launch(executable_path=path, args=flags) as browser:
            yield browser


@dataclass(frozen=True)
class Served:
    """A server and what its model says."""

    server: RunningServer
    script: Script

    @property
    def url(self) -> str:
        return f"{self.server.url}/"


@pytest.fixture(scope="package")
def _chat() -> Iterator[Served]:
    script = Script()
    with scripted_llama(script) as llm, serving(llm) as server:
        yield Served(server, script)


@pytest.fixture(scope="package")
def _story() -> Iterator[Served]:
    script = Script()
    with scripted_llama(script, chat=False) as llm, serving(llm) as server:
        yield Served(server, script)


@pytest.fixture
def guarded() -> Iterator[Served]:
    """One with a template that asks for a key, which is "right"."""
    script = Script()
    settings = ServerSettings(api_keys=("right",), grace_seconds=5.0)
    with scripted_llama(script) as llm, serving(llm, settings) as server:
        yield Served(server, script)


@pytest.fixture
def chat(_chat: Served) -> Iterator[Served]:
    """A model with a chat template."""
    yield from _fresh(_chat)


@pytest.fixture
def story(_story: Served) -> Iterator[Served]:
    """A model without one."""
    yield from _fresh(_story)


def _fresh(served: Served) -> Iterator[Served]:
    served.script.answers.clear()
    served.script.prompts.clear()
    yield served
    served.script.pause_after(None)


OpenPage = Callable[..., "Page"]


@pytest.fixture
def visit(browser: "Browser") -> Iterator[OpenPage]:
    """Opens an address as a new visitor, or in `context` as one who has been there.

    An error that no module catches, and a breach of the page's security policy, fail the test.
    """
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def visit(url: str, context: "BrowserContext | None" = None, **settings: object) -> "Page":
        if context is None:
            context = browser.new_context(
                **{"viewport": {"width": 1280, "height": 800}, **settings}
            )
            context.set_default_timeout(TIMEOUT_MS)
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Content Security Policy" in message.text else None
            ),
        )
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not problems
