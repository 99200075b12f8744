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
from builder.editions import dumps, own_edition, solved_edition
from builder.own import own_copies
from builder.source import exercises, read_source, slug, sources, tags

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
ROOT = Path(__file__).parents[2]
MINUTE = 60_000  # milliseconds
expect.set_options(timeout=MINUTE)  # a busy machine is slow, not wrong

# A slip in each solution, exercise by exercise: the name of its case in the lesson's `cases.py`,
# whose message has to appear, then a piece of the solution and what is typed in its place.
SLIPS = {
    "first_words": [],
    "matrix_example": [
        ("no bar in H", "[[1, 0], [1, 1], [1, 0], [0, 0]", "[[1, 0], [1, 0], [1, 0], [0, 0]"),
        ("break-even itself", "(d * k - 1)", "d * k"),
        ("both in", " - old_B @ old_A", ""),
        ("twice both", "lora_A / 2", "2 * lora_A"),
    ],
    "rank_and_svd": [
        ("eigenvalues of flat", "flat = [5, 0]", "flat = [3, 0]"),
        ("energy for error", "error**2", "error"),
        ("two random strips", "return lora_A,", "return rng.standard_normal(lora_A.shape),"),
    ],
    "learning_the_update": [
        ("uphill", "[1.5, 1.2]", "[-1.5, -1.2]"),
        ("A is no parameter", "    layer.lora_A = nn.Parameter(layer.lora_A)\n", ""),
        ("no scaling", "layer.scaling * ", ""),
        ("over n", "(2 * len(x))", "len(x)"),
    ],
    "intrinsic_rank": [
        ("two", '"random", "degrees": 45', '"random", "degrees": 0'),
        ("on test", 'method["validation"].items()', 'method["test"].items()'),
        ("plain", "delta @ x.T, full", "delta, full"),
    ],
    "counting_parameters": [
        ("one width", "(kv_width + width) / (width + width)", "(kv_width + width) / width"),
        ("difference", " or trainable % one_rank != 0", ""),
        ("no bytes", "(size * sum(d + k for d, k in shapes))", "sum(d + k for d, k in shapes)"),
    ],
    "merging": [
        ("percent", "return np.sum", "return 100 * np.sum"),
        ("wide", "use((W0 + delta).astype(W0.dtype))", "use(W0 + delta)"),
        ("nearest", "np.floor(place + rng.random(place.shape))", "np.round(place)"),
    ],
    "real_model": [
        ("itself", "    np.fill_diagonal(cosines, -np.inf)\n", ""),
        ("either", "(as_good & better)", "better"),
        ("no scaling", "lora_alpha / len(lora_A) * ", ""),
    ],
    "inside_the_update": [
        ("weakest", "return Vt[:r], U[:, :r] * S[:r]", "return Vt[-r:], U[:, -r:] * S[-r:]"),
        ("plain sum", " ** 2) / min(i, j)", ") / min(i, j)"),
        ("no weight", "weight * B_2]", "B_2]"),
    ],
    "language_model": [
        ("question learned", "[-100] * len(question) + answer", "question + answer"),
        ("the loss", "math.exp(-sum(counted) / len(counted))", "-sum(counted) / len(counted)"),
        ("end of the question", "ids.index(pad, asked)", "ids.index(pad)"),
    ],
    "beyond_lora": [
        ("times r", "lora_alpha * r**0.5", "lora_alpha * r"),
        ("all slow", '"lr": ratio * lr', '"lr": lr'),
        ("no s", "np.sqrt(S[:r] / s)", "np.sqrt(S[:r])"),
        ("no new axis", "[:, None]", ""),
    ],
}


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
    # As a learner has it: nothing is strict.
    environment = {name: v for name, v in os.environ.items() if name != "LORA_EDU_CLAIMS"}
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
            "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=",
            "--ServerApp.password=", f"--ServerApp.root_dir={folder / 'mine'}",
        ],
        env=environment
        | {
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            # Not the home folder's: what another lab has open would open here, too.
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        },
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


@pytest.fixture
def page(browser):
    """A page that closes also when its test fails: left open, it would go on saving its tabs."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000})
    yield opened
    opened.close()


def write(page, cell, text, number):
    """Put a text into a code cell and run it, as the notebook's n-th run; return its outputs."""
    cell.locator(".cm-content").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)  # as if pasted: no bracket closed, no line indented
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-InputArea-prompt")).to_have_text(f"[{number}]:")
    return cell.locator(".jp-Cell-outputArea")


def run_all(page, address, name):
    """Open a notebook, and run all of its cells."""
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.first.wait_for(timeout=2 * MINUTE)
    assert page.locator(".jp-OutputArea-output").count() == 0  # the learner's copy is empty
    # What is run before its kernel is there runs never, and says nothing.
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
    page.locator(".jp-Notebook .jp-CodeCell .jp-Editor").first.click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    # Each ran, once, in order: a folded cell shows its number beside its output.
    prompts = cells.last.locator(".jp-InputArea-prompt, .jp-OutputArea-prompt")
    run = prompts.filter(has_text=re.compile(r"\[\d+\]:")).first
    run.wait_for(timeout=5 * MINUTE)
    assert run.inner_text() == f"[{cells.count()}]:"


def answer_all(page, path):
    """Predict once; answer each exercise wrong, then right. Return what cells hold, by place."""
    source, lesson = read_source(path), slug(path)
    code = [cell for cell in own_edition(source).cells if cell.cell_type == "code"]
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
        expect(output).to_contain_text(f"{exercise.check}: OK")
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
def test_a_learner_works_through_a_lesson(page, lab, tmp_path, source):
    address, folder = lab
    copied, lesson = folder / source.name, slug(source)
    run_all(page, address, source.stem)

    errors = page.locator("[data-mime-type='application/vnd.jupyter.error'], .jp-OutputArea-error")
    assert errors.count() == 0, errors.all_inner_texts()
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    stubs = len(exercises(read_source(source)))
    assert page.get_by_text("not attempted yet", exact=False).count() >= stubs

    for film in page.locator("figure[data-sheet]").all():  # a film opens where it begins
        at = film.get_by_role("slider")
        at.press("ArrowRight")
        expect(at).to_have_value("1")

    sliders = page.locator(".jupyter-widgets .noUi-handle")
    assert sliders.count() == source.read_text(encoding="utf-8").count("SelectionSlider(")
    for handle in sliders.all():  # each runs its cell
        output = (
            page.locator(".jp-OutputArea", has=handle).locator(".jp-OutputArea-output pre").last
        )
        before = output.inner_text()
        handle.press("ArrowRight")
        expect(output).not_to_have_text(before)

    written = answer_all(page, copied)
    assert errors.count() == 0, errors.all_inner_texts()  # the right answers took their place
    keep(page, copied, written)

    shot = Path(os.environ.get("LORA_EDU_SCREENSHOTS", tmp_path)) / f"{lesson}.png"
    page.screenshot(path=shot)
    assert shot.stat().st_size > 20_000


def test_what_a_learner_wrote_becomes_a_file_that_runs_by_itself(page, lab):
    address, folder = lab
    mine = folder.parent / "mine"
    notebook = solved_edition(read_source(folder / "03_learning_the_update.md"))
    (mine / "solved.ipynb").write_text(dumps(notebook), encoding="utf-8")
    run_all(page, address, "solved")
    expect(page.get_by_text("lora.py is yours now")).to_contain_text("add_lora, merge.")
    code = """
import torch, lora
net = lora.add_lora(torch.nn.Sequential(torch.nn.Linear(3, 4)), ["0"], r=2, lora_alpha=2)
adam, x = torch.optim.Adam(lora.trainable(net), lr=0.1), torch.randn(5, 3)
losses = lora.train(net, [(x, torch.zeros(5, 4))] * 50, torch.nn.functional.mse_loss, adam)
off = (lora.merge(net[0])(x) - net(x)).abs().max().item()
print(losses[-1] < losses[0], off < 1e-6)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=mine, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("True True\n", "")


def test_a_page_that_a_learner_plays_with_says_what_is_no_longer_true(page, lab, tmp_path):
    """Lesson 01 with r = 60: folded panels, what they say, a question, and the film."""
    address, folder = lab
    notebook = own_edition(read_source(folder / "01_matrix_example.md"))
    for cell in notebook.cells:
        cell.source = cell.source.replace("d, k, r = 100, 100, 5 ", "d, k, r = 100, 100, 60 ")
    (folder.parent / "mine" / "played.ipynb").write_text(dumps(notebook), encoding="utf-8")
    run_all(page, address, "played")
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0

    folded = page.locator(".jp-CodeCell .jp-Placeholder-content")
    panels = [cell for cell in notebook.cells if "claims" in tags(cell)]
    assert folded.count() == len(panels)
    expect(folded.first).to_contain_text("What this section says, held to its numbers")
    said = page.get_by_text("sentences here").first
    expect(said).to_contain_text(re.compile(r"Of \d+ sentences here \d+ no longer hold:"))
    expect(said).to_contain_text("“an update that was made from 1,000”: now 12,000")
    asked = page.get_by_text("your guess first").first
    expect(asked).not_to_contain_text("answer")

    film = page.locator("figure[aria-label='five rows paint a hundred']")
    film.get_by_role("slider").press("End")
    expect(film.locator("output")).to_have_text("row 100 of 100")
    film.scroll_into_view_if_needed()
    shots = Path(os.environ.get("LORA_EDU_SCREENSHOTS", tmp_path))
    page.screenshot(path=shots / "film.png")
    said.scroll_into_view_if_needed()
    page.screenshot(path=shots / "broken_claims.png")
