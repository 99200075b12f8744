"""Every lesson in a real JupyterLab, as a learner works in it, who errs before being right."""

import importlib
import itertools
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

import nbformat
import pytest
from builder.editions import reading_edition
from builder.own import own_copies
from builder.source import exercises, read_source, slug, sources

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
ROOT = Path(__file__).parents[2]
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
# No sandbox: as root, in containers, there is none to be had. The rest keeps it off the network.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MINUTE = 60_000  # milliseconds
expect.set_options(timeout=MINUTE)  # a busy machine is slow, not wrong

# A slip in each solution, exercise by exercise: the name of its case in the lesson's `cases.py`,
# whose message has to appear, then a piece of the solution and what is typed in its place.
SLIPS = {
    "matrix_example": [
        ("A @ B", "lora_B @ lora_A", "lora_A @ lora_B"),
        ("break-even itself", "(d * k - 1)", "d * k"),
        ("a wrong sign", "[1, -1]", "[1, 1]"),
        ("forms BA", "lora_B @ (lora_A @ x)", "(lora_B @ lora_A) @ x"),
        ("in place", "return W0 + lora_B @ lora_A", "W0 += lora_B @ lora_A\n    return W0"),
    ],
    "rank_and_svd": [
        ("absolute", " * S[0]", ""),
        ("an index", " + 1", ""),
        ("one too many", "S[r:]", "S[r - 1 :]"),
        ("energy for error", "error**2", "error"),
    ],
    "learning_the_update": [
        ("no scaling", "scaling * ", ""),
        ("swapped", "return dA, dB", "return dB, dA"),
        ("wrong axis", "np.sqrt(k)", "np.sqrt(r)"),
        ("one early", "sigma[r:]", "sigma[r - 1 :]"),
        ("uphill", "(-lr", "(lr"),
    ],
    "intrinsic_rank": [
        ("no W0", "return W0 + ", "return "),
        ("ddof", ", ddof=1", ""),
        ("the flaw", "full[of]", "full"),
        ("absolute", "0.9 * full", "0.9"),
    ],
    "counting_parameters": [
        ("no r", "r * (d + k)", "d + k"),
        ("head frozen", "lora + head, base + lora + head", "lora, base + lora"),
        ("never truncates", '"truncates" if derived // unit == printed else ', ""),
        ("one layer", "96 * ", ""),
        ("one moment", "1 + 1 + 2", "1 + 1 + 1"),
    ],
    "merging": [
        ("no end", "min(1, 0.42 * u / size)", "0.42 * u / size"),
        ("wide", "(W0 + delta).astype(W0.dtype)", "W0 + delta"),
        ("customers", "True, False, False, True", "True, True, False, True"),
        ("no base", "x @ W0.T + ", ""),
    ],
    "real_model": [
        ("itself", "    np.fill_diagonal(cosine, -np.inf)\n", ""),
        ("no scaling", "lora_alpha / len(lora_A) * ", ""),
        ("max", "min(i, j)", "max(i, j)"),
        ("signed", "np.abs(U_0.T @ U_1[:, :k])", "(U_0.T @ U_1[:, :k])"),
    ],
    "beyond_lora": [
        ("inputs", "sum(d for", "sum(k for"),
        ("no new axis", "[:, None]", ""),
        ("below", "[12, 0, 8, 11]", "[12, 0, 7, 10]"),
        ("fa for memory", '"nf4"', '"lora-fa"'),
    ],
}


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
    """A JupyterLab server over the learner's copies; yields its address, and the sources."""
    folder = tmp_path_factory.mktemp("course")
    copied = folder / "src"
    shutil.copytree(ROOT / "notebooks" / "src", copied)
    for source in sorted(copied.glob("*.md")):
        own_copies(source)

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
        yield address, copied
    finally:
        server.terminate()
        server.wait(timeout=20)
        log.close()


def write(page, cell, text, number):
    """Put a text into a code cell and run it, as the notebook's n-th run; return its outputs."""
    cell.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)  # as if pasted: no bracket closed, no line indented
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-InputArea-prompt")).to_have_text(f"[{number}]:")
    return cell.locator(".jp-Cell-outputArea")


def answer_all(page, path):
    """Predict once; answer each exercise wrong, then right. Return what cells hold, by place."""
    source, lesson = read_source(path), slug(path)
    code = [cell for cell in reading_edition(source).cells if cell.cell_type == "code"]
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    runs, written = itertools.count(len(code) + 1), {}

    at = next(i for i, cell in enumerate(code) if "guess = None" in cell.source)
    written[at] = code[at].source.replace("guess = None", "guess = 1")
    output = write(page, cells.nth(at), written[at], next(runs))
    expect(output).to_contain_text(re.compile("answer: .+ your guess: 1 "))

    own = importlib.import_module(f"lora_edu.course.{lesson}.checks")
    table = importlib.import_module(f"lessons.{lesson}.cases")
    places = {cell.id: place for place, cell in enumerate(code)}
    solved = {cell.id: cell.source for cell in source.cells}
    asked = exercises(source).items()
    for (name, exercise), (slip, right, wrong) in zip(asked, SLIPS[lesson], strict=True):
        at = places[name]
        assert solved[name].count(right) == 1, f"{name}: {right!r}"
        output = write(page, cells.nth(at), solved[name].replace(right, wrong), next(runs))
        _, message = table.CASES[getattr(own, exercise.check)][1][slip]
        expect(output).to_contain_text(message)
        expect(output).not_to_contain_text("Traceback")

        written[at] = solved[name]
        output = write(page, cells.nth(at), written[at], next(runs))
        expect(output).to_have_text(f"{exercise.check}: OK")
    return written


def keep(page, path, written):
    """Save and open the notebook again: what was written is there, and a new copy spares it."""
    page.keyboard.press("ControlOrMeta+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    page.reload()
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    for at, text in written.items():
        cells.nth(at).scroll_into_view_if_needed(timeout=MINUTE)
        expect(cells.nth(at).locator(".cm-line")).to_have_text(text.split("\n"))

    mine = path.parent.parent / "mine" / f"{path.stem}.ipynb"
    saved = mine.read_bytes()
    code = [c.source for c in nbformat.read(mine, as_version=4).cells if c.cell_type == "code"]
    assert {at: code[at] for at in written} == written
    assert "kept as it is" in own_copies(path)
    assert mine.read_bytes() == saved


@pytest.mark.parametrize("source", sources(), ids=slug)
def test_a_learner_works_through_a_lesson(browser, lab, tmp_path, source):
    address, folder = lab
    copied, lesson = folder / source.name, slug(source)
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{address}/lab/tree/{source.stem}.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.wait_for(timeout=2 * MINUTE)
    assert page.locator(".jp-OutputArea-output").count() == 0  # the learner's copy is empty

    page.locator(".jp-Notebook .jp-CodeCell .jp-Editor").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    last = cells.last.locator(".jp-InputArea-prompt")
    expect(last).to_have_text(re.compile(r"\[\d+\]:"), timeout=5 * MINUTE)
    assert last.inner_text() == f"[{cells.count()}]:"  # each ran, once, in order

    errors = page.locator("[data-mime-type='application/vnd.jupyter.error'], .jp-OutputArea-error")
    assert errors.count() == 0, errors.all_inner_texts()
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.get_by_text("not attempted yet", exact=False).count() >= 3

    sliders = page.locator(".jupyter-widgets .noUi-handle")
    assert sliders.count() >= (lesson in {"matrix_example", "rank_and_svd"})
    if sliders.count():
        readout = page.locator(".jupyter-widgets .widget-readout").first
        picture = page.locator("img.widget-image").first
        sliders.first.scroll_into_view_if_needed()
        before, value = picture.get_attribute("src"), int(readout.inner_text())
        sliders.first.press("ArrowRight")
        expect(readout).to_have_text(str(value + 1))
        expect(picture).not_to_have_attribute("src", before)

    written = answer_all(page, copied)
    assert errors.count() == 0, errors.all_inner_texts()  # the right answers took their place
    keep(page, copied, written)

    shot = Path(os.environ.get("LORA_EDU_SCREENSHOTS", tmp_path)) / f"{lesson}.png"
    page.screenshot(path=shot)
    assert shot.stat().st_size > 20_000
    page.close()
