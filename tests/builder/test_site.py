"""The pages of the web edition before Sphinx reads them: what is kept, and where links lead."""

import base64
import csv
import hashlib
import io
import re
import tarfile

import nbformat
import pytest
from builder import explorables, reference, site, slides
from builder.pages import PHONE, Page, Pictures, in_figures, lesson_page, plain, redrawn, results
from builder.source import NOTEBOOKS, BuildError, sources, tags
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from lora_edu.course.figures import load

ROOT = NOTEBOOKS.parent


@pytest.fixture
def page(full):
    """The full lesson, as the film's: its page, the page behind it, its pictures."""
    made = Page("en", "01_matrix_example", Pictures("img/"))
    lesson, proof = lesson_page(full.page(), made)
    return "\n\n".join(lesson), "\n\n".join(proof), made.pictures.files


def test_a_page_has_what_needs_no_kernel_and_the_proof_has_a_page_of_its_own(full, page):
    lesson, proof, files = page
    setup = '<details class="setup"><summary>The cell that sets all up</summary>\n\n```python\nSEED'
    assert setup in lesson
    assert "raise NotImplementedError" in lesson
    assert '<div id="cell-sum"></div>\n\n```python\nprint(2 + 3)\n```\n\n<pre class="out' in lesson
    left_out = r"not attempted|panel\(|sentences hold|Five questions|data:image|We ran|runs"
    assert not re.search(left_out, lesson)
    image = r'<img src="img/01-plot.webp" width="\d+" height="\d+" loading="lazy" decoding="async"'
    assert re.search(f'{image} alt="In the figure: a x that goes &quot;up&quot;.">', lesson)
    player, _, stills = lesson.partition('<div id="cell-film">')[2].partition("<details")
    assert 'data-sheet="img/01-film-frames.webp"' in player
    assert 'src="STATIC/films.js"' in player
    assert "figures.a_name_by_its_directions" in stills
    assert "**In the figure:** moments" in stills
    assert lesson.endswith("## What you can say")
    assert "print('runs')" in proof
    names = {"01-plot.webp", "01-film-frames.webp", "01-film-still.webp", "01-still.webp"}
    assert set(files) == names
    drawn = next(cell for cell in full.page().cells if cell.id == "plot").outputs[0].data
    png = Image.open(io.BytesIO(base64.b64decode(drawn["image/png"])))
    with Image.open(io.BytesIO(files["01-plot.webp"])) as kept:
        assert kept.convert("RGB").tobytes() == png.convert("RGB").tobytes()  # no loss


BEHIND = {  # each question, what of what follows it is hidden, what stands in the open
    "ask-told": (["import os", "one &lt;two&gt;", "It is 5.", "And more."], []),
    "ask-plot": (["plt.plot(line)", "<img", "**In the figure:** a $x$", "So it rises."], []),
    "ask-exercise": ([], ["twice = ..."]),
    "ask-bold": (["**So what?** Words."], []),
    "ask-next": (["It leads on.", "figures.film_of_name"], []),
    "ask-last": ([], ["## What you can say"]),
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_question_hides_its_answer_and_what_explains_it(page, name):
    rest = page[0].partition(f'<div id="cell-{name}"></div>')[2]
    guess, _, rest = rest.partition('<details class="predict">')
    hidden, _, shown = rest.partition("</details>\n\n")
    shown = shown.partition('<div class="guess"')[0]
    assert "predict(" not in guess
    assert ">more</button><button" in guess
    assert '<button type="button" data-right>1,000</button></div>' in guess  # the nearest
    assert guess.count("data-right") == 1
    assert "answer: 5" in hidden
    kept, told = BEHIND[name]
    assert [each for each in kept if each not in hidden or each in shown] == []
    assert [each for each in told if each not in shown or each in hidden] == []


def test_html_of_a_cell_is_shown_as_it_is_on_the_page_and_on_slides():
    data = {"text/html": "<div>Arrr!</div>", "text/plain": "Arrr!"}
    cell = new_code_cell("show()", outputs=[new_output("display_data", data)])
    assert list(results([cell], 0, Page("en", "07_small", Pictures("")))) == ["<div>Arrr!</div>"]
    assert [part.html for part in slides.shown(cell, None, "")] == ["<div>Arrr!</div>"]


WORDS = [
    (in_figures, 1e-8, "0.00000001"),
    (in_figures, "fewer", "fewer"),
    (plain, r"$\lVert M \rVert_F$, **bold**", "‖M ‖F, bold"),
    (plain, r"$\Delta W = s\,BA$ in [05](05_x.ipynb)", "ΔW = sBA in 05"),
]


@pytest.mark.parametrize(("written_as", "written", "said"), WORDS)
def test_numbers_and_formulas_in_plain_words(written_as, written, said):
    assert written_as(written) == said


# -- links ------------------------------------------------------------------------------------

KNOW = '05 <a href="../notebooks/know/05_intrinsic_rank.html#cell-know">How we know</a>'
ENGLISH = '<a href="../../en/notebooks/02_rank_and_svd.html">02</a>'
TITLE = '<a href="{}.html#cell-title">'
LINKS = [
    ("en", "[a](SETUP.md#a-smaller)", "[a](../notebooks/SETUP.md#a-smaller)"),
    ("en", "[a](../LICENSE)", '<a href="../files/LICENSE">a</a>'),
    ("en", "`x`\n```\n[a](nowhere.md)\n```\n", "`x`\n```\n[a](nowhere.md)\n```\n"),
    ("en", "[05](05_intrinsic_rank.ipynb) `know`", KNOW),
    # where there is no page in Vietnamese, to the English one
    ("vi", "[02](../02_rank_and_svd.ipynb)", ENGLISH),
    ("vi", "[01](01_matrix_example.ipynb) `title`", TITLE.format("../notebooks/01_matrix_example")),
]


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return {each: site.Stage(each, tmp_path_factory.mktemp(each)) for each in ("en", "vi")}


@pytest.mark.parametrize(("language", "written", "there"), LINKS)
def test_links_lead_where_the_pages_are(stages, language, written, there):
    folder = "notebooks" if language == "en" else f"notebooks/{language}"
    source = f"{folder}/TEACHING.md"
    found = stages[language].relinked(written, source, "notebooks/TEACHING", Pictures(""))
    assert there in found if "cell-title" in there else there == found


def test_dead_links_and_other_hosts_are_named(tmp_path, stages):
    for written, problem in {
        "[a](NOWHERE.md)": "TEACHING.md: a link to NOWHERE.md, which is not there",
        "[01](01_matrix_example.ipynb) `gone`": "01_matrix_example, which has no cell gone",
    }.items():
        where = ("notebooks/TEACHING.md", "notebooks/TEACHING", Pictures(""))
        with pytest.raises(BuildError, match=re.escape(problem)):
            stages["en"].relinked(written, *where)
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html#there">b</a><a href="b.html#gone">b</a><a href="c.html">c</a>'
        '<a href="#here">a</a><a href="https://example.org">x</a><img src="https://cdn.example/x.png">'
        '<link href="no.css"><figure data-sheet="no.png"></figure><script src="data:,1"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="there">')
    assert sorted(site.dead_links(tmp_path)) == [
        "a.html: leads to b.html#gone, which has no such place",
        "a.html: leads to c.html, which is not there",
        "a.html: leads to no.css, which is not there",
        "a.html: leads to no.png, which is not there",
        "a.html: loads https://cdn.example/x.png from another host",
    ]
    with pytest.raises(BuildError, match="is there, and is no site"):
        site.write_site(tmp_path)
    assert (tmp_path / "b.html").exists()


# -- the pages of the course ------------------------------------------------------------------


def test_a_lesson_its_questions_its_claims_and_where_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "ADDRESS", "somebody/lora")
    stem = "01_matrix_example"
    stage = site.Stage("en", tmp_path)
    stage.write_lesson(stem, site.lessons("en")[stem])
    page = (tmp_path / f"notebooks/{stem}.md").read_text(encoding="utf-8")
    assert f"(https://mybinder.org/v2/gh/somebody/lora/main?labpath=notebooks/{stem}" in page
    (form,) = re.findall('(?s)<form class="quiz".*?</form>', page)
    questions = stage.quizzes["matrix_example"]
    shown = re.findall(r'<a href="#cell-([\w-]+)">Where the lesson shows it', form)
    assert [each.cell for each in questions] == shown
    chosen = sum(bool(each.choices) for each in questions)
    assert form.count(" data-right") == chosen + 5  # of the right choices, and of the verdicts
    assert form.count(" data-number=") == 5 - chosen
    assert "\n\n" not in form  # for Markdown it is one piece
    know = (tmp_path / f"notebooks/know/{stem}.md").read_text(encoding="utf-8")
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    panels = [cell for cell in notebook.cells if "claims" in tags(cell)]
    claims = sum(len(cell.outputs[0].metadata["lora_edu"]["claims"]) for cell in panels)
    assert know.count("<td>any seed</td>") + know.count("<td>this seed</td>") == claims > 25


def test_every_page_beside_the_lessons_is_on_the_site_and_each_term_is_a_place(stages):
    beside = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md"), *ROOT.glob("notebooks/vi/*.md")]
    there = {*site.pages("en"), *site.pages("vi")}
    ours = {path.relative_to(ROOT).as_posix() for path in beside if path.name != "CLAUDE.md"}
    assert ours - there == set()
    stage, written = stages["en"], (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
    stage.write_text("notebooks/GLOSSARY.md", "notebooks/GLOSSARY")
    page = (stage.folder / "notebooks/GLOSSARY.md").read_text(encoding="utf-8")
    places = re.findall(r'<span id="(term-[a-z0-9-]+)">', page)
    rows = re.findall(r"(?m)^\| (?!term |---)", written)
    assert len(places) == len(set(places)) == len(rows) > 70


def test_a_picture_that_the_gallery_draws_has_a_dark_drawing_and_one_for_phones():
    entry, album = load()["shorter_answers"], Pictures("img/")
    light = redrawn(entry, "light")
    shown = album.tag("a", light, "Three bars.", entry)
    assert {name.partition(".")[0] for name in album.files} == {
        "a", "a-phone", "a-dark", "a-dark-phone"}  # fmt: skip
    for kind in ("light", "dark"):
        narrow = f'<source media="(max-width: 500px)" srcset="img/a{"-dark" * (kind == "dark")}'
        assert f'<picture class="only-{kind}">{narrow}-phone' in shown
    with Image.open(io.BytesIO(redrawn(entry, "light", phone=True))) as picture:
        wide, high = picture.size
    assert wide <= 160 * (PHONE + 0.2) < high  # 160 dots an inch, its panels below one another
    buffer = io.BytesIO()
    Image.new("RGB", (900, 300)).save(buffer, "png")
    other = album.tag("b", buffer.getvalue(), "One of other numbers.", entry)
    assert other.startswith('<div class="pan" style="--wide: 900px"><img ')


def test_the_gallery_goes_by_lessons_with_titles_and_small_pictures():
    written = (ROOT / "figures" / "README.md").read_text(encoding="utf-8")
    names = {path.stem.partition("_")[2]: path.stem for path in sources()}
    album = Pictures("img/")
    page = reference.gallery(written, names, album)
    assert page.count("<details id=") == len(album.files) == len(load())
    _, first, second, *_ = page.split("## Lesson ")
    assert '<details id="model_and_file">' in first
    assert '<details id="matrix_anatomy">' in second
    assert not re.search(r"<summary><img [^>]+> (?:Show|[a-z])", page)


def test_the_ledger_has_every_figure():
    with (ROOT / "figures" / "ledger.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = reference.ledger("# The ledger")
    assert len(re.findall("<tr[^>]*><td>", page)) == len(rows)
    assert all(f'<td data-value="{row["derived"]}">' in page for row in rows)
    assert page.count("<option>differs</option>") == 1
    assert len(set(re.findall('<tr id="([^"]+)"', page))) == len({row["id"] for row in rows})
    certain = [row for row in rows if row["could_fail"] == "False"]
    assert page.count("could not have come out otherwise") == len(certain)
    assert '<a href="#C21">C21</a>' in page  # a reason that names another entry leads there


def test_the_first_page_has_moments_of_a_voice_and_the_roads():
    page = reference.landing((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "<dd>Arrr! I be glad ye be here, matey!</dd>" in page
    assert 'data-explorable="strips"' in page
    assert "matrix_anatomy.png" not in page
    assert page.index("| a weekend") < page.index("## The lessons") < page.index("## Begin")
    with pytest.raises(BuildError, match="the picture of matrices is missing"):
        reference.landing("# Title\n\n## Begin\n\n## The lessons\n")


# -- llama.cpp for browsers, as npm brings it ----------------------------------------------------


def test_a_program_is_unpacked_if_it_is_the_one_that_is_named(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("package/esm/run.js", "package/install.js"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"code"))
    data, files = packed.getvalue(), {"esm/run.js": "run.js"}
    with pytest.raises(BuildError, match="has another SHA-256"):
        explorables.unpack(data, "0" * 64, files, tmp_path / "voice")
    assert not (tmp_path / "voice").exists()
    explorables.unpack(data, hashlib.sha256(data).hexdigest(), files, tmp_path / "voice")
    assert [path.name for path in (tmp_path / "voice").iterdir()] == ["run.js"]


def test_without_npm_or_without_the_package_there_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="npm is needed, which comes with Node"):
        explorables.fetched("@wllama/wllama@3.13.0")
    fails = tmp_path / "npm"
    fails.write_text("#!/bin/sh\necho 'no such package' >&2; exit 1\n", encoding="utf-8")
    fails.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(BuildError, match="npm could not fetch none@0:\nno such"):
        explorables.fetched("none@0")
