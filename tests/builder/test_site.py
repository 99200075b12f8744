"""The pages of the web edition before Sphinx reads them: what is kept, and where links lead."""

import base64
import csv
import io
import re

import nbformat
import pytest
from builder import appendix, site
from builder import stage as staging
from builder.quiz import read_quizzes
from builder.source import NOTEBOOKS, BuildError, tags
from builder.webpage import Page, Pictures, in_figures, lesson_page, plain, quiz
from PIL import Image

V4 = nbformat.v4
ROOT = NOTEBOOKS.parent


def png(width=4, height=3):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (10, 200, 30)).save(buffer, "png")
    return buffer.getvalue()


def text(name, source, *named):
    return V4.new_markdown_cell(source, id=name, metadata={"tags": list(named)})


def code(name, source, *named, printed="", picture=None):
    found = [V4.new_output("stream", text=printed)] if printed else []
    if picture is not None:
        data = {"image/png": base64.b64encode(picture).decode(), "text/plain": "<Figure>"}
        found.append(V4.new_output("display_data", data=data))
    return V4.new_code_cell(source, id=name, metadata={"tags": list(named)}, outputs=found)


def paged(*cells):
    """Return the page of a lesson, the page behind it, and its pictures."""
    page = Page("en", "01_matrix_example", Pictures("img/"))
    lesson, proof = lesson_page(V4.new_notebook(cells=list(cells)), page)
    return "\n\n".join(lesson), "\n\n".join(proof), page.pictures.files


def test_what_needs_a_kernel_is_not_on_the_page():
    stub = "def f():\n    raise NotImplementedError"
    lesson, _, _ = paged(
        code("setup", "SEED = 0", "parameters"),
        code("slider", "interact(f)", "live"),
        code("try", stub, "exercise", printed="check: not yet"),
        code("shown", "print(1)", printed="one <two>\n\nthree\n"),
        code("claims-1", "panel()", "claims", printed="2 sentences hold"),
        text("quiz", "<details>questions</details>", "quiz"),
    )
    setup = '<details class="setup"><summary>The cell that sets all up</summary>\n\n```python\nSEED'
    assert setup in lesson
    assert "raise NotImplementedError" in lesson
    assert '<pre class="output">one &lt;two&gt;\n\nthree</pre>' in lesson
    assert not re.search("interact|not yet|panel|sentences hold|questions", lesson)
    assert '<div id="cell-shown"></div>' in lesson


WORDS = [
    (in_figures, 1e-8, "0.00000001"),
    (in_figures, 1e-4, "0.0001"),
    (in_figures, 1.0, "1"),
    (in_figures, 40_000, "40,000"),
    (in_figures, "fewer", "fewer"),
    (plain, r"$\lVert M \rVert_F$, **bold**", "‖M ‖F, bold"),
    (plain, r"$\sum \sigma_i u_i v_i^\top$", "∑σi ui viᵀ"),
    (plain, r"$\Delta W = s\,BA$ in [05](05_x.ipynb)", "ΔW = sBA in 05"),
    (plain, r"`lora_A`, $\alpha / \sqrt r$", "lora_A, α/ √r"),
    (appendix.size, "0.35M", 350_000),
    (appendix.size, "1.2 TB", 1.2e12),
    (appendix.size, "25%", 0.25),
    (appendix.size, "9,437,184", 9_437_184),
    (appendix.size, "4K", 4000),
    (appendix.size, "7B", 7e9),
]


@pytest.mark.parametrize(("written_as", "written", "said"), WORDS)
def test_numbers_and_formulas_in_plain_words_and_sizes(written_as, written, said):
    assert written_as(written) == said


SHOWN = code("c", "show()", printed="five")
TOLD = text("f", "figure: 5", "figure-text")


FOLLOWING = [
    ([text("a", "It is 5.\n\nNow 6."), text("b", "End.")], ["It is 5."], ["Now 6.", "End."]),
    ([SHOWN, text("a", "5.")], ["show()", "five", "5."], []),
    ([text("h", "## Next\n\nwords")], [], ["## Next"]),
    ([text("a", "**So what?** Words."), text("b", "More.")], [], ["**So what?**", "More."]),
    ([code("e", "x = ...", "exercise")], [], ["x = ..."]),
    ([TOLD, text("a", "So 5.")], ["figure: 5", "So 5."], []),
    ([], [], []),
]


@pytest.mark.parametrize(
    ("following", "kept", "told"),
    FOLLOWING,
    ids=["explained", "shown", "heading", "another matter", "exercise", "figure", "the end"],
)
def test_a_question_hides_its_answer_and_what_explains_it(following, kept, told):
    asked = 'guess = "?"\npredict(guess, 5, "more", 1_000)'
    question = code("ask", asked, "predict", printed="answer: 5")
    lesson, _, _ = paged(text("why", "**Predict.** How many?"), question, *following)
    before, hidden, after = re.split(r'<details class="predict">|</details>', lesson)
    assert "predict(" not in before
    assert ">more</button><button" in before
    assert '<button type="button" data-right>1,000</button></div>' in before  # the nearest
    assert before.count("data-right") == 1
    assert "answer: 5" in hidden
    assert [each for each in kept if each not in hidden] == []
    assert [each for each in told if each not in after] == []


def test_a_picture_is_small_described_and_late():
    lesson, _, files = paged(
        code("plot", "x = f()\nplt.show()", picture=png(40, 30)),
        text("plot-text", '**In the figure:** $x$ is "up"', "figure-text"),
    )
    image = '<img src="img/01-plot.webp" width="40" height="30" loading="lazy" decoding="async"'
    assert f'{image} alt="In the figure: x is &quot;up&quot;">' in lesson
    with Image.open(io.BytesIO(files["01-plot.webp"])) as kept:
        assert kept.size == (40, 30)
        assert kept.convert("RGB").getpixel((0, 0)) == (10, 200, 30)  # no loss


def test_a_film_takes_the_place_of_its_stills():
    lesson, _, files = paged(
        code("film", "figures.film_of_name(wanted)     # press Play", "live"),
        code("still", "figures.name()", picture=png()),
        text("still-text", "**In the figure:** moments", "figure-text"),
        text("next", "And so on."),
    )
    player, stills, rest = re.split("<details|</details>", lesson)
    assert 'data-sheet="img/01-film-frames.webp"' in player
    assert 'src="STATIC/films.js"' in player
    assert "data:image" not in lesson
    assert "figures.name()" in stills
    assert "**In the figure:** moments" in stills
    assert rest.strip().endswith("And so on.")
    assert set(files) == {"01-film-frames.webp", "01-film-still.webp", "01-still.webp"}


def test_the_proof_has_a_page_of_its_own():
    know = [text("know", "## How we know\n\nruns"), code("runs", "table()")]
    lesson, proof, _ = paged(text("start", "# Title"), *know, text("end", "## What you can say"))
    assert "runs" not in lesson
    assert "table()" in proof
    assert "What you can say" in lesson


def test_questions_say_where_the_lesson_shows_it():
    questions = read_quizzes(NOTEBOOKS / "src")["matrix_example"]
    form = quiz(questions, "q", Page("en", "01_x", Pictures("")), {"matrix_example": "x.html"})
    assert form.count("<fieldset>") == 5
    assert form.count(" data-right") == sum(bool(q.choices) for q in questions) + 5  # and verdicts
    assert f'<a href="x.html#cell-{questions[0].cell}">' in form
    assert "\n\n" not in form  # for Markdown it is one piece


# -- links ------------------------------------------------------------------------------------

KNOW = '04 <a href="../notebooks/know/04_intrinsic_rank.html#cell-know">How we know</a>'
ENGLISH = '<a href="../../en/notebooks/02_rank_and_svd.html">02</a>'


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    return {each: staging.Stage(each, tmp_path_factory.mktemp(each)) for each in ("en", "vi")}


LINKS = [
    ("en", "[a](SETUP.md#a-smaller)", "[a](../notebooks/SETUP.md#a-smaller)"),
    ("en", "[a](../README.md#begin)", "[a](../index.md#begin)"),
    ("en", "[a](../LICENSE)", '<a href="../files/LICENSE">a</a>'),
    ("en", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
    ("en", "`x`\n```\n[a](nowhere.md)\n```\n", "`x`\n```\n[a](nowhere.md)\n```\n"),
    ("en", "[04](04_intrinsic_rank.ipynb) `know`", KNOW),
    # where there is no page in Vietnamese, to the English one
    ("vi", "[02](../02_rank_and_svd.ipynb)", ENGLISH),
    ("vi", "[01](01_matrix_example.ipynb) `title`", "../notebooks/01_matrix_example.html"),
    ("vi", "[07](07_real_model.ipynb) `title`", "../../en/notebooks/07_real_model.html"),
]


@pytest.mark.parametrize(("language", "written", "there"), LINKS)
def test_links_lead_where_the_pages_are(stages, language, written, there):
    folder = "notebooks" if language == "en" else f"notebooks/{language}"
    source = f"{folder}/TEACHING.md"
    found = stages[language].relinked(written, source, "notebooks/TEACHING", Pictures(""))
    if there.endswith(".html"):
        assert f'<a href="{there}#cell-title">' in found
    else:
        assert found == there


NOWHERE = [
    ("[a](NOWHERE.md)", "notebooks/TEACHING.md: a link to NOWHERE.md, which is not there"),
    ("[01](01_matrix_example.ipynb) `gone`", "01_matrix_example, which has no cell gone"),
]


@pytest.mark.parametrize(("written", "problem"), NOWHERE)
def test_a_link_to_nothing_is_refused(stages, written, problem):
    with pytest.raises(BuildError, match=re.escape(problem)):
        stages["en"].relinked(written, "notebooks/TEACHING.md", "notebooks/TEACHING", Pictures(""))


def test_dead_links_and_other_hosts_are_named(tmp_path):
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


# -- pages beside the lessons -----------------------------------------------------------------


def test_every_page_beside_the_lessons_is_on_the_site():
    beside = [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/*.md"), *ROOT.glob("notebooks/vi/*.md")]
    there = {*staging.pages("en"), *staging.pages("vi")}
    ours = {path.relative_to(ROOT).as_posix() for path in beside if path.name != "CLAUDE.md"}
    assert ours - there == set()


def test_the_ledger_has_every_figure():
    with (ROOT / "figures" / "ledger.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = appendix.ledger("# The ledger")
    assert len(re.findall("<tr[^>]*><td>", page)) == len(rows)
    assert all(f'<td data-value="{row["derived"]}">' in page for row in rows)
    assert page.count("<option>differs</option>") == 1
    assert len(set(re.findall('<tr id="([^"]+)"', page))) == len({row["id"] for row in rows})
    certain = sum(row["could_fail"] == "False" for row in rows)
    assert page.count("could not have come out otherwise") == certain
    assert '<a href="#C21">C21</a>' in page  # a reason that names another entry leads there


def test_each_term_of_the_glossary_is_a_place(stages):
    stage, written = stages["en"], (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
    stage.beside("notebooks/GLOSSARY.md", "notebooks/GLOSSARY")
    page = (stage.folder / "notebooks/GLOSSARY.md").read_text(encoding="utf-8")
    places = re.findall(r'<span id="(term-[a-z0-9-]+)">', page)
    rows = re.findall(r"(?m)^\| (?!term |---)", written)
    assert len(places) == len(set(places)) == len(rows) > 70


def test_the_first_page_has_the_voice_and_the_roads():
    page = appendix.landing((ROOT / "README.md").read_text(encoding="utf-8"))
    assert page.count('<dd class="without">') == page.count('<dd class="with">') == 3
    assert page.index("| a weekend") < page.index("## The lessons") < page.index("## Begin")
    with pytest.raises(BuildError, match="the table of the voice is missing"):
        appendix.landing("# Title\n\n## Begin\n\n## The lessons\n")


def test_what_stands_behind_a_lesson_has_each_claim(stages):
    stage, stem = stages["en"], "01_matrix_example"
    stage.lesson(stem, staging.lessons("en")[stem])
    page = (stage.folder / f"notebooks/know/{stem}.md").read_text(encoding="utf-8")
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    panels = [cell for cell in notebook.cells if "claims" in tags(cell)]
    claims = sum(len(cell.outputs[0].metadata["lora_edu"]["claims"]) for cell in panels)
    assert page.count("<td>any seed</td>") + page.count("<td>this seed</td>") == claims > 40
