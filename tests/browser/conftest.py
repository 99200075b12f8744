"""A real browser for all tests of this folder, and pages that stand alone."""

import functools
import http.server
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from builder import explorables
from builder.paper import BROWSERS
from builder.site import SITE, write_site

# No sandbox: as root, in containers, there is none to be had. The rest keeps it off the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DARK = """html { background: #131416; color: #cfd0d0; color-scheme: dark;
--color-background-primary: #131416; --color-background-secondary: #1a1c1e;
--color-background-border: #303335; --color-background-hover: #1e2124; --mark: #56b4e9;
--color-foreground-primary: #cfd0d0; --color-foreground-secondary: #9ca0a5; --warm: #e69f00;
--color-foreground-muted: #81868d; --color-foreground-border: #666;
--color-problematic: #ee5151 }"""
PAGE = """<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{name}</title>
<meta name="viewport" content="width=device-width"><style>{css} {style}</style></head><body><main>
<h1>{name}</h1>{div}</main>
<script>const loraData = {data}, Documentation = {{addTranslations() {{}}}};</script>
<script>{words}</script><script>{script}</script></body></html>"""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN_AXE = """only => axe.run(document, {runOnly: only, resultTypes: ['violations']})
.then(found => found.violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.html}`)))"""


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
def opened(browser):
    """A function that opens a page; an error in it, or a request to another place, fails.

    The page has content of its own, or comes from an address below ``root``. With ``clock`` the
    page's time stands still.
    """
    contexts, wrong = [], []

    def open_page(content="", address="", root=None, width=1280, clock=False, **settings):
        settings = {"viewport": {"width": width, "height": 900}, **settings}
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()

        def watch(request):
            if not request.url.startswith((root or "data:", "data:", "blob:")):
                wrong.append(f"{address}: a request to {request.url}")

        def hear(said):
            if not said.location["url"].endswith("/favicon.ico"):  # nobody links to it
                wrong.append(f"{address}: {said.text}")

        page.on("request", watch)
        page.on("pageerror", lambda error: wrong.append(f"{address}: {error}"))
        page.on("console", hear)
        if clock:
            page.clock.install(time=0)
        page.goto(root + address) if root else page.set_content(content)
        if clock:
            page.clock.pause_at(1000)  # milliseconds
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@functools.cache
def data_of(name):
    return explorables.DATA[name]() if name in explorables.DATA else None


@pytest.fixture
def piece(opened):
    """A function that opens an explorable in a page of its own."""

    def read(*parts):
        return SITE.joinpath(*parts).read_text(encoding="utf-8")

    def open_piece(name, lang="en", dark=False, **settings):
        div = re.search(r'(?s)<div class="explorable".*?</div>', read("explore", f"{name}.md"))
        content = PAGE.format(
            name=name,
            lang=lang,
            css=read("static", "explorables.css"),
            style=DARK if dark else "",
            div=div[0],
            data=json.dumps({name: data_of(name)}),
            words=read("static", "words.vi.js") if lang == "vi" else "",
            script=read("static", "pieces.js") + read("static", f"{name}.js"),
        )
        return opened(content, **settings)

    return open_piece


@pytest.fixture(scope="session")
def violations():
    """A function that names what in a page stands in somebody's way, by axe."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe is not installed")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")

    def run(page, only=RULES):
        page.evaluate(script)
        return page.evaluate(RUN_AXE, only)

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The built site, with the model. To build it follows every link, and holds its size."""
    out = tmp_path_factory.mktemp("site") / "site"
    write_site(out, voice=True)
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def root(folder):
    """The address at which the site is served."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def site(opened, root):
    """A function that opens a page of the site."""
    return lambda name="", **settings: opened(address=name, **{"root": root, **settings})
