"""Do the lessons run in a browser alone? All cells, every check and claim, and no request outside.

    python tests/live.py [FOLDER]     of the pages that `make site-live` made (site/live)

Each lesson is run as a learner gets it, then its exercises are solved in it, one by one. It prints
how much was loaded.
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
from builder.source import NOTEBOOKS, exercises, read_source, slug, sources
from playwright.sync_api import Page, expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
MINUTES = 5 * 60_000  # milliseconds, for all cells of a lesson
HELD = re.compile(r"numbers? of this section w(?:as|ere) just recomputed\.")
STDERR = '.jp-CodeCell [data-mime-type="application/vnd.jupyter.stderr"]'


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing of each request."""


def try_lesson(page: Page, path: Path) -> None:
    """Run a lesson, then solve it; an AssertionError says what is not as it should be."""
    source = read_source(path)
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(cells.first.locator(".jp-InputArea-prompt")).to_have_text("[1]:")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    panels = sum("claims" in cell.metadata.get("tags", []) for cell in source.cells)
    expect(cells.filter(has_text=HELD)).to_have_count(panels)
    said = page.locator(STDERR).all_inner_texts()
    assert [line for line in said if "font cache" not in line] == []  # which is built once

    code = [cell.id for cell in source.cells if cell.cell_type == "code"]
    for name, exercise in exercises(source).items():
        cell = cells.nth(code.index(name) + 1)
        cell.locator(".cm-content").click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text(next(c.source for c in source.cells if c.id == name))
        page.keyboard.press("Control+Enter")
        expect(cell.locator(".jp-Cell-outputArea")).to_contain_text(f"{exercise.check}: OK")


def main() -> int:
    """Try every lesson; return the exit code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else NOTEBOOKS.parent / "site" / "live")
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{server.server_port}/"
    expect.set_options(timeout=MINUTES)
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        for path in sources(LESSONS):
            start, loaded, failed = time.perf_counter(), [], []
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.on("requestfinished", lambda request, found=loaded: found.append(request))
            context.on("requestfailed", lambda request, found=failed: found.append(request))
            page = context.new_page()
            page.goto(f"{root}notebooks/index.html?path={path.stem}.ipynb")
            try_lesson(page, path)
            asked = {request.url for request in [*loaded, *failed]}
            outside = [url for url in asked if not url.startswith((root, "data:", "blob:"))]
            assert outside == [], outside
            own = [request for request in loaded if request.url.startswith(root)]
            size = sum(request.sizes()["responseBodySize"] for request in own) / 1e6
            took = time.perf_counter() - start
            print(f"{path.stem}: {took:.0f} s, {size:.0f} MB loaded, no request outside")
            told = LESSONS[slug(path)]
            assert abs(size / told - 1) < 0.1, f"the button says {told} MB"
            context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
