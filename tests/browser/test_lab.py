"""Lessons in a real JupyterLab, as a learner works in them, who errs before being right."""

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

import nbformat
import pytest
from browser.page import expect
from builder.editions import START, dumps, own_copies, own_edition, write_start
from builder.source import NOTEBOOKS, exercises, read_source, slug, sources, tags

MINUTE = 60_000  # milliseconds
expect.set_options(timeout=MINUTE)  # a busy machine is slow, not wrong

# A slip in exercise 1 of lesson 01, what stands there in the solution, and what is said of it.
SLIP, RIGHT, SAID = "[[1, 0], [1, 0],", "[[1, 0], [1, 1],", "mixes 1 0 1 there"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab server over the learner's copies; yields its address, and the sources."""
    folder = tmp_path_factory.mktemp("course")
    copied = folder / "src"
    shutil.copytree(NOTEBOOKS / "src", copied)
    (folder / "mine").mkdir()
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # As a learner has it: nothing is strict.
    environment = {name: v for name, v in os.environ.items() if name != "LORA_EDU_CLAIMS"}
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    # Not the home folder's: what another lab has open would open here, too.
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / "workspaces")
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password=",
        f"--ServerApp.root_dir={folder / 'mine'}",
    ]  # fmt: skip
    address, log = f"http://127.0.0.1:{port}", folder / "server.log"
    with log.open("w") as said:
        server = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    try:
        for _ in range(120):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"{address}/api", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail(log.read_text())
        yield address, copied
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture
def page(browser):
    """A page that closes also when its test fails: left open, it would go on saving its tabs."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000})
    yield opened
    opened.close()


def errors(page):
    return page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()


def run_all(page, address, name):
    """Open a notebook, and run all of its cells; none of them fails. Return its code cells."""
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.wait_for(timeout=2 * MINUTE)
    assert page.locator(".jp-OutputArea-output").count() == 0  # the learner's copy is empty
    # What is run before its kernel is there runs never, and says nothing.
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    cells.locator(".jp-Editor").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    # Each ran, once, in order: a folded cell shows its number beside its output.
    prompts = cells.last.locator(".jp-InputArea-prompt, .jp-OutputArea-prompt")
    run = prompts.filter(has_text=re.compile(r"\[\d+\]:")).first
    run.wait_for(timeout=5 * MINUTE)
    assert run.inner_text() == f"[{cells.count()}]:"
    assert errors(page) == []
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    return cells


def play(page):
    """Move each film and each slider on: by the page alone, no kernel is asked."""
    for film in page.locator("figure[data-sheet]").all():  # a film opens where it begins
        at = film.get_by_role("slider")
        at.press("ArrowRight")
        expect(at).to_have_value("1")
    for dial in page.locator("[data-dial]").all():  # what a lesson has computed, scale by scale
        talk = dial.locator("[data-at]:not([hidden])")
        before = talk.inner_text()
        dial.get_by_role("slider").press("ArrowRight")
        expect(talk).not_to_have_text(before)


def answer_all(page, cells, path):
    """Predict once; answer each exercise, the first of lesson 01 wrong before right.

    Return what cells hold, by place.
    """
    source = read_source(path)
    code = [cell for cell in own_edition(source).cells if cell.cell_type == "code"]
    runs, written = itertools.count(len(code) + 1), {}

    def answer(at, text):
        """Put a text into a code cell and run it, which is the notebook's next run."""
        written[at] = text
        cells.nth(at).locator(".cm-content").click()
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.insert_text(text)  # as if pasted: no bracket closed, no line indented
        page.keyboard.press("Shift+Enter")
        expect(cells.nth(at).locator(".jp-InputArea-prompt")).to_have_text(f"[{next(runs)}]:")
        return cells.nth(at).locator(".jp-Cell-outputArea")

    at = next(i for i, cell in enumerate(code) if "guess = None" in cell.source)
    output = answer(at, code[at].source.replace("guess = None", "guess = 1"))
    # A number is judged; where there are words to choose from, it is none of them.
    expect(output).to_contain_text(re.compile("answer: .+ your guess: 1 |^your guess: one of "))
    solved = {cell.id: cell.source for cell in source.cells}
    for name, exercise in exercises(source).items():
        at = next(i for i, cell in enumerate(code) if cell.id == name)
        if (slug(path), name) == ("matrix_example", "exercise-1"):
            output = answer(at, solved[name].replace(RIGHT, SLIP))
            expect(output).to_contain_text(SAID)
            expect(output).not_to_contain_text("Traceback")
        output = answer(at, solved[name])
        expect(output).to_contain_text(f"{exercise.check}: OK")
    return written


def marked(path):
    mark = pytest.mark.smoke if slug(path) == "matrix_example" else pytest.mark.slow
    return pytest.param(path, id=slug(path), marks=mark)


@pytest.mark.parametrize("source", [marked(path) for path in sources()])
def test_a_learner_works_through_a_lesson(page, lab, source):
    address, folder = lab
    copied = folder / source.name
    own_copies(copied)
    cells = run_all(page, address, source.stem)
    stubs = len(exercises(read_source(source)))
    assert page.get_by_text("not attempted yet", exact=False).count() >= stubs
    play(page)
    written = answer_all(page, cells, copied)
    assert errors(page) == []  # the right answers took their place

    page.keyboard.press("ControlOrMeta+s")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    mine = folder.parent / "mine" / f"{source.stem}.ipynb"
    write_start([copied])  # the page that greets at the next start
    stubs_done = f"| {stubs} of {stubs} |" if stubs else "| 1 of "
    assert stubs_done in (mine.parent / START).read_text(encoding="utf-8")
    saved = mine.read_bytes()
    code = [c.source for c in nbformat.read(mine, as_version=4).cells if c.cell_type == "code"]
    assert {at: code[at] for at in written} == written
    assert "kept as it is" in own_copies(copied)  # a new copy spares it
    assert mine.read_bytes() == saved


def test_a_page_that_a_learner_plays_with_says_what_is_no_longer_true(page, lab):
    """Lesson 01 with r = 60: folded panels, what they say, and a question."""
    address, folder = lab
    notebook = own_edition(read_source(folder / "01_matrix_example.md"))
    for cell in notebook.cells:
        cell.source = cell.source.replace("d, k, r = 100, 100, 5 ", "d, k, r = 100, 100, 60 ")
    (folder.parent / "mine" / "played.ipynb").write_text(dumps(notebook), encoding="utf-8")
    run_all(page, address, "played")
    folded = page.locator(".jp-CodeCell .jp-Placeholder-content")
    assert folded.count() == sum("claims" in tags(cell) for cell in notebook.cells) + 1
    expect(folded.first).to_contain_text("import")  # all imports, in one line
    expect(folded.nth(1)).to_contain_text("What this section says, held to its numbers")
    said = page.get_by_text("sentences here").first
    expect(said).to_contain_text(re.compile(r"Of \d+ sentences here \d+ no longer holds?:"))
    expect(said).to_contain_text("“but it was made from 1,000”: now 12,000")
    expect(page.get_by_text("your guess first").first).not_to_contain_text("answer")
