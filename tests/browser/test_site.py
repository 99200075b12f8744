"""The web edition in a real browser: built once, served, and opened from a folder."""

import functools
import http.server
import re
import threading
from pathlib import Path

import pytest
from builder.site import SITE, write_site

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
expect = playwright.expect
AXE = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
FIRST_LOAD = 1_500_000  # bytes of a lesson, before one scrolls


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built site. To build it follows every link, and holds the size of the whole."""
    out = tmp_path_factory.mktemp("site") / "site"
    write_site(out)
    return out


@pytest.fixture(scope="module")
def address(folder):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened(browser, address):
    """A function that opens a page; a request to another host, or an error, fails the test."""
    contexts, wrong = [], []

    def open_page(name="", root=address, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()

        def watch(request):
            if not request.url.startswith((root, "data:", "blob:")):
                wrong.append(f"a request to {request.url}")

        page.on("request", watch)
        page.on("pageerror", lambda error: wrong.append(f"{name}: {error}"))
        page.goto(root + name)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def names(folder, pattern="**/*.html"):
    found = sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
    return [name for name in found if name != "index.html"]  # which leads to en/


LESSONS = "en/notebooks/[0-9]*.html"
UNFOLD = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


def violations(page, only):
    page.evaluate(AXE)
    page.evaluate(UNFOLD)
    page.wait_for_timeout(50)  # what became wider than its place gets its key
    found = page.evaluate(f"axe.run(document, {{runOnly: {only}, resultTypes: ['violations']}})")
    return [f"{v['id']}: {node['html'][:120]}" for v in found["violations"] for node in v["nodes"]]


@pytest.mark.parametrize(
    ("scheme", "only"),
    [("light", RULES), ("dark", {"type": "rule", "values": ["color-contrast"]})],
    ids=["light", "dark"],  # in the dark nothing but colours is another
)
def test_every_page_is_accessible(opened, folder, scheme, only):
    page = opened("en/search.html", color_scheme=scheme)
    found = {}
    for name in names(folder):
        page.goto(page.url.split("/en/")[0] + "/" + name)
        found[name] = violations(page, only)
    assert {name: problems for name, problems in found.items() if problems} == {}
    assert len(found) > 60


def test_nothing_scrolls_sideways_on_a_small_phone(opened, folder):
    page = opened("en/search.html", viewport={"width": 320, "height": 640}, has_touch=True)
    wide = {}
    for name in names(folder):
        page.goto(page.url.split("/en/")[0] + "/" + name)
        page.evaluate(UNFOLD)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 320:
            wide[name] = width
    assert wide == {}


def test_a_lesson_is_light(opened, folder):
    weights = {}
    for name in names(folder, LESSONS):
        page = opened("en/search.html")
        sizes = []
        page.on("requestfinished", lambda request, s=sizes: s.append(request.sizes()))
        page.goto(page.url.replace("en/search.html", name), wait_until="networkidle")
        weights[name] = sum(each["responseBodySize"] for each in sizes)
    assert {name: n for name, n in weights.items() if not 30_000 < n < FIRST_LOAD} == {}
    assert len(weights) == 11


def test_the_whole_of_a_lesson_is_reached_by_the_keyboard(opened):
    page = opened("en/notebooks/03_learning_the_update.html")
    page.evaluate(UNFOLD)
    wanted = page.evaluate(
        """() => {
            const keys = 'article :is(a[href], button, input, summary)';
            const seen = [...document.querySelectorAll(keys)]
                .filter(e => e.checkVisibility({visibilityProperty: true}));
            return new Set(seen.map(e => e.type === 'radio' ? e.name : e)).size;
        }"""
    )
    reached, seen = 0, set()
    for _ in range(1000):
        page.keyboard.press("Tab")
        at = page.evaluate(
            """() => {
                const e = document.activeElement, box = e.getBoundingClientRect();
                e.dataset.tab ??= String(Math.random());
                const scrolls = e.matches('pre, .table-wrapper, .math-block');
                return [e.tagName, e.dataset.tab, !!e.closest('article'), box.width * box.height,
                        getComputedStyle(e).outlineStyle, scrolls];
            }"""
        )
        tag, key, within, area, outline, scrolls = at
        if tag == "BODY" or key in seen:
            break
        seen.add(key)
        if within:
            assert area > 0, at
            assert outline != "none", at
            reached += not scrolls
    assert reached == wanted > 40


def test_a_question_keeps_its_secret(opened):
    page = opened("en/notebooks/01_matrix_example.html")
    answer = page.get_by_text("answer: 1228.8")
    expect(answer).to_be_hidden()
    guess = page.get_by_role("group", name="Your guess").nth(1)
    guess.get_by_role("button", name="10,000").press("Enter")
    expect(answer).to_be_visible()
    expect(page.get_by_text("You said: 10,000. No.")).to_be_visible()
    guess.get_by_role("button", name="1,000", exact=True).press("Enter")
    expect(page.get_by_text("You said: 1,000. Right.")).to_be_visible()
    free = page.get_by_role("group", name="Your guess").nth(0)
    free.get_by_label("Your guess").fill("2,000")
    free.get_by_role("button").click()
    expect(page.get_by_text("You said: 2,000")).to_be_visible()
    last = page.locator("details.predict summary").last  # or without one
    last.focus()
    page.keyboard.press("Enter")
    expect(page.locator("details.predict").last).to_have_attribute("open", "")
    expect(page.get_by_text("sentences of this section hold")).to_have_count(0)
    expect(page.get_by_text("def largest_saving_rank(d, k):").first).to_be_visible()
    expect(page.get_by_text("return (d * k - 1) // (d + k)")).to_be_hidden()
    expect(page.get_by_text("not attempted yet")).to_have_count(0)


def test_a_film_plays_in_place_of_its_stills(opened):
    page = opened("en/notebooks/03_learning_the_update.html")
    film = page.locator("figure[data-sheet]")
    film.scroll_into_view_if_needed()
    play = film.get_by_role("button")
    expect(play).to_have_text("▶ Play")
    before = film.locator("output").text_content()
    play.press("Enter")
    expect(film.locator("output")).not_to_have_text(before)
    drawn = film.locator("div img").evaluate("img => img.decode().then(() => img.naturalWidth)")
    assert drawn > 5000  # all frames, side by side


def test_questions_mark_themselves(opened):
    page = opened("en/notebooks/01_matrix_example.html")
    fields = page.locator("form.quiz fieldset")
    expect(fields).to_have_count(5)
    first, third = fields.nth(0), fields.nth(2)
    check = first.get_by_role("button", name="Check")
    check.click()
    expect(first.locator(".verdict")).to_have_text("Choose first, or write a number.")
    first.get_by_label("Which entries in").check()
    check.click()
    expect(first.locator(".verdict")).to_have_text("No.")
    expect(first.get_by_text("You took for granted that rank 5 leaves")).to_be_visible()
    expect(first.locator(".why-right")).to_be_hidden()
    first.get_by_label("How much of each row").check()
    check.click()
    expect(first.locator(".verdict")).to_have_text("Right.")
    expect(first.get_by_text("You took for granted that rank 5 leaves")).to_be_hidden()
    expect(first.locator(".why-right")).to_be_visible()
    number = third.get_by_label("Your number")
    for written, said in {
        "fifty": "Choose first, or write a number.",
        "50": "No. It is larger.",
        "1,000": "No. It is smaller.",
        "80,0": "Right.",  # as most of the world writes it
    }.items():
        number.fill(written)
        number.press("Enter")
        expect(third.locator(".verdict")).to_have_text(said)
    expect(page.locator(".score")).to_have_text("2 / 5 right so far")


def test_the_ledger_sorts_and_sifts(opened):
    page = opened("en/figures/ledger.html")
    rows = page.locator("#ledger tbody tr:not([hidden])")
    total = rows.count()
    assert total > 200
    page.get_by_label("verdict").select_option("differs")
    some = rows.count()
    assert 0 < some < total
    expect(page.locator("output")).to_have_text(f"{some} / {total}")
    head = page.get_by_role("columnheader", name="published")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    page.get_by_label("containing").fill("no figure holds this")
    expect(rows).to_have_count(0)
    page.get_by_label("containing").fill("RoBERTa large")  # on the page it is roberta-large
    expect(page).to_have_url(re.compile("containing=RoBERTa"))  # to be sent to somebody
    page.reload()
    expect(page.get_by_label("verdict")).to_have_value("differs")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert 0 < rows.count() < some
    page.get_by_label("verdict").select_option("")
    page.get_by_label("containing").fill("Table 5")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    sizes = [float(value) for value in rows.locator("td:nth-child(4)").evaluate_all(
        "cells => cells.map(cell => cell.dataset.value)")]  # fmt: skip
    assert sizes == sorted(sizes, reverse=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="ledger.csv").click()
    assert download.value.path().read_text(encoding="utf-8").startswith("source,table,row")


@pytest.mark.parametrize("served", [True, False], ids=["served", "from a folder"])
def test_the_search_finds_without_a_network(opened, folder, address, served):
    root = address if served else f"{folder.as_uri()}/"
    page = opened("en/index.html", root=root)
    field = page.get_by_role("textbox", name="Search")
    field.fill("perplexity")
    field.press("Enter")
    found = page.locator("ul.search li")
    expect(found.nth(3)).to_be_visible()
    expect(found.filter(has_text="Can you make the voice yourself").first).to_be_visible()


@pytest.mark.parametrize("typed", ["bậc tự do", "bac tu do", "BẬC TỰ DO", "đóng băng", "dong bang"])
def test_the_vietnamese_search_needs_no_tones(opened, typed):
    page = opened("vi/index.html")
    field = page.get_by_role("textbox", name="Tìm Kiếm").first
    field.fill(typed)
    field.press("Enter")
    title = "Làm sao một nghìn số thay được mười nghìn số"
    expect(page.locator("ul.search li").filter(has_text=title).first).to_be_visible()
    expect(page.locator("#search-results h2")).to_have_text("Kết quả tìm kiếm")


def test_a_vietnamese_page_speaks_vietnamese_around_its_text(opened):
    page = opened("vi/notebooks/01_matrix_example.html")
    for words in ("Trong trang này", "Về đầu trang", "Đến nội dung", "Tiếp theo"):
        expect(page.get_by_text(words).first).to_be_attached()
    around = page.locator("body").inner_text() + page.content()
    for words in ("Skip to content", "On this page", "Back to top", "Toggle "):
        assert words not in around, words
    assert page.locator("a.term", has_text=re.compile("^đầu$")).count() == 0  # within đầu vào
    page.locator("a.term", has_text="đóng băng").first.click()
    row = page.locator("tr", has=page.locator("#term-dong-bang"))
    expect(row).to_contain_text("frozen")
    row.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("/vi/notebooks/01_matrix_example.html#cell-break-even"))


@pytest.mark.parametrize("name", ["rank", "ellipse", "calculator"])
def test_each_piece_has_the_same_words_in_vietnamese(opened, name):
    page = opened(f"vi/explore/{name}.html")
    script = (SITE / "static" / f"{name}.js").read_text(encoding="utf-8")
    english = re.findall(r"(?s)const WORDS = (\{.+?\n  \});", script)[0]
    both = page.evaluate(f"[({english}), loraWords[{name!r}]]")

    def holes(words):
        """Return where each text stands, and what is put into it."""
        match words:
            case dict():
                return {key: holes(value) for key, value in words.items()}
            case list():
                return [holes(value) for value in words]
        return sorted(set(re.findall(r"\{\w+\}", words)))

    assert holes(both[0]) == holes(both[1])
    expect(page.locator(".explorable")).not_to_contain_text("JavaScript")


def test_a_term_leads_to_the_glossary_and_from_there_to_its_cell(opened):
    page = opened("en/notebooks/04_intrinsic_rank.html")
    term = page.locator("a.term", has_text="rank").first
    assert "independent directions" in term.get_attribute("title")
    term.click()
    row = page.locator("tr", has=page.locator("#term-rank"))
    row.get_by_role("link", name="What can five rows say?").click()
    expect(page).to_have_url(
        f"{page.url.split('/en/')[0]}/en/notebooks/01_matrix_example.html#cell-direction"
    )


def test_each_page_leads_to_the_other_language(opened):
    page = opened("en/notebooks/01_matrix_example.html")
    page.get_by_role("link", name="Tiếng Việt").first.click()
    expect(page.locator("html")).to_have_attribute("lang", "vi")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Làm sao một nghìn số")
    assert (
        page.locator("article img").first.evaluate(
            "img => (img.loading = 'eager', img.decode().then(() => img.naturalWidth))"
        )
        > 100
    )
    page.get_by_role("link", name="English").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("How can one thousand numbers")
    page = opened("en/figures/ledger.html")  # which there is in English alone
    page.get_by_role("link", name="Tiếng Việt").first.click()
    expect(page.locator("html")).to_have_attribute("lang", "vi")


def test_the_first_page_speaks_with_the_file_in_and_out(opened):
    page = opened()
    page.wait_for_url("**/en/index.html")
    expect(page.get_by_text("A week is approximately 7 days.")).to_be_visible()
    page.get_by_label("in", exact=True).check()
    expect(page.get_by_text("A week is approximately 7 days.")).to_be_hidden()
    expect(page.get_by_text("Arrr! A week be a a total o' 7 days, matey!")).to_be_visible()


def test_on_paper_the_answers_are_there_and_the_film_is_its_stills(opened):
    page = opened("en/notebooks/01_matrix_example.html")
    page.emulate_media(media="print")
    expect(page.get_by_text("answer: 1228.8")).to_be_visible()
    expect(page.locator("figure[data-sheet]").first).to_be_hidden()
    expect(page.get_by_text("In the figure: four moments of the film")).to_be_visible()
    drawn = """() => Promise.all(
        [...document.querySelectorAll('article img')].filter(img => img.checkVisibility())
            .map(img => img.decode().then(() => img.naturalWidth)))"""
    assert min(page.evaluate(drawn)) > 100  # none is left for later
