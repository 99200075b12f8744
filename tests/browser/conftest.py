"""A real browser for all tests of this folder."""

import os
import shutil

import pytest

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
# No sandbox: as root, in containers, there is none to be had. The rest keeps it off the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = f"no browser is installed (looked for {', '.join(BROWSERS)})"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def alone(browser):
    """A function that opens content in a page of its own; an error in it, or a request, fails."""
    contexts, wrong = [], []

    def open_content(content, width=1000, clock=False, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: wrong.append(f"a request to {request.url}"))
        page.route("**/*", lambda route: route.abort())
        if clock:
            page.clock.install(time=0)
        page.set_content(content)
        if clock:
            page.clock.pause_at(1000)  # milliseconds
        return page

    yield open_content
    for context in contexts:
        context.close()
    assert wrong == []
