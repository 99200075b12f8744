"""Do the lessons run in a browser alone? All cells, every check and claim, and no request outside.

    python tests/live.py [FOLDER]     of the pages that `make site-live` made (site/live)

Each lesson is run as a learner gets it, then its exercises are solved in it, one by one. It prints
what that took, and how much was loaded.
"""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
from builder.live import LESSONS
from builder.source import exercises, read_source, slug, sources
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
MINUTES = 5 * 60_000  # milliseconds, for all cells of a lesson


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing of each request."""


def write(page: Page, index: int, text: str) -> str:
    """Put a text into a code cell and run it; return what it shows."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(index)
    before = cell.locator(".jp-InputArea-prompt").text_content()
    cell.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)
    page.keyboard.press("Control+Enter")
    page.wait_for_function(
        "([cell, before]) => /\\d/.test(cell.textContent) && cell.textContent !== before",
        arg=[cell.locator(".jp-InputArea-prompt").element_handle(), before],
        timeout=MINUTES,
    )
    return cell.locator(".jp-Cell-outputArea").inner_text()


def try_lesson(page: Page, root: str, path: Path) -> None:
    """Run a lesson, then solve it; an AssertionError says what is not as it should be."""
    start = time.perf_counter()
    page.goto(f"{root}notebooks/index.html?path={path.stem}.ipynb")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.wait_for(timeout=MINUTES)
    shown = time.perf_counter()
    cells.first.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")
    page.wait_for_function(
        "cell => cell.textContent === '[1]:'", arg=prompts.first.element_handle(), timeout=MINUTES
    )
    ready = time.perf_counter()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(
        "all => [...document.querySelectorAll(all)].slice(1).every(p => /\\d/.test(p.textContent))",
        arg=".jp-Notebook .jp-CodeCell .jp-InputArea-prompt",
        timeout=MINUTES,
    )
    done = time.perf_counter()

    source = read_source(path)
    stderr = '.jp-CodeCell [data-mime-type="application/vnd.jupyter.stderr"]'
    errors = page.locator(stderr).all_inner_texts()
    errors = [said for said in errors if "font cache" not in said]  # which is built once
    assert errors == [], errors
    panels = sum("claims" in cell.metadata.get("tags", []) for cell in source.cells)
    for _ in range(20):  # the last outputs come a little after their number
        said = page.locator(".jp-Notebook").inner_text()
        held = re.findall(r"\d+ sentences? of this section holds?\.", said)
        if len(held) == panels:
            break
        page.wait_for_timeout(500)
    assert len(held) == panels, re.findall(r".*: now .*", said)

    code = [cell.id for cell in source.cells if cell.cell_type == "code"]
    asked = exercises(source)
    for cell in source.cells:
        if cell.id in asked:
            told = write(page, code.index(cell.id) + 1, cell.source)
            assert "OK" in told, told
    print(
        f"{path.stem}: page {shown - start:.0f} s, kernel {ready - shown:.0f} s, all cells "
        f"{done - ready:.0f} s; {panels} panels hold, {len(asked)} exercises solved"
    )


def main() -> int:
    """Try every lesson; return the exit code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site" / "live")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}/"
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        for path in sources(sys.argv[2:] or LESSONS):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            outside, loaded = [], []

            def note(request, outside=outside, loaded=loaded):
                if not request.url.startswith((root, "data:", "blob:")):
                    outside.append(request.url)
                elif request.url.startswith(root):
                    loaded.append(request.sizes()["responseBodySize"])

            page.context.on("requestfinished", note)
            page.context.on("requestfailed", lambda request, o=outside: o.append(request.url))
            try_lesson(page, root, path)
            assert outside == [], outside
            size, told = sum(loaded) / 1e6, LESSONS[slug(path)]
            print(f"{path.stem}: {size:.0f} MB loaded, no request outside")
            assert abs(size / told - 1) < 0.1, f"the button says {told} MB"
            page.context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
