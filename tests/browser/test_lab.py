"""Every lesson in a real JupyterLab: the learner's copy, Run All, its slider moved, no error."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from test_build import build

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
ROOT = Path(__file__).parents[2]
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
# No sandbox: as root, in containers, there is none to be had. The rest keeps it off the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MINUTE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = f"no browser is installed (looked for {', '.join(BROWSERS)})"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab server over a folder with the learner's copies; yields its address."""
    folder = tmp_path_factory.mktemp("course")
    sources = folder / "src"
    shutil.copytree(ROOT / "notebooks" / "src", sources)
    for source in sorted(sources.glob("*.md")):
        build.own_copies(source)

    settings = folder / "settings" / "@jupyterlab"
    for name, values in {
        "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
            "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=",
            "--ServerApp.password=", f"--ServerApp.root_dir={folder / 'mine'}",
        ],
        env={**os.environ, "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings")},
        stdout=log, stderr=log,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            assert server.poll() is None, (folder / "server.log").read_text()
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "server.log").read_text())
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)
        log.close()


@pytest.mark.parametrize("lesson", [path.stem for path in build.sources()])
def test_a_learner_runs_a_lesson(browser, lab, tmp_path, lesson):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/lab/tree/{lesson}.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.wait_for(timeout=2 * MINUTE)
    assert page.locator(".jp-OutputArea-output").count() == 0  # the learner's copy is empty

    page.locator(".jp-Notebook .jp-CodeCell .jp-Editor").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = cells.last.locator(".jp-InputArea-prompt")
    playwright.expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=5 * MINUTE)
    assert last.inner_text() == f"[{cells.count()}]:"  # each ran, once, in order

    errors = page.locator("[data-mime-type='application/vnd.jupyter.error'], .jp-OutputArea-error")
    assert errors.count() == 0, errors.all_inner_texts()
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.get_by_text("not attempted yet", exact=False).count() >= 3

    sliders = page.locator(".jupyter-widgets .noUi-handle")
    assert sliders.count() >= (lesson[:2] in {"01", "02"})
    if sliders.count():
        readout = page.locator(".jupyter-widgets .widget-readout").first
        picture = page.locator("img.widget-image").first
        sliders.first.scroll_into_view_if_needed()
        before, value = picture.get_attribute("src"), int(readout.inner_text())
        sliders.first.press("ArrowRight")
        playwright.expect(readout).to_have_text(str(value + 1))
        playwright.expect(picture).not_to_have_attribute("src", before, timeout=MINUTE)

    shot = Path(os.environ.get("LORA_EDU_SCREENSHOTS", tmp_path)) / f"{lesson}.png"
    page.screenshot(path=shot)
    assert shot.stat().st_size > 20_000
    page.close()
