"""The web edition in a real browser: built once, served, and opened from a folder."""

import re

import pytest
from browser.page import expect

LESSONS = "en/notebooks/[0-9]*.html"
FIRST = "en/notebooks/01_matrix_example.html"
FIRST_LOAD = 1_500_000  # bytes of a lesson, before one scrolls
WIDTH = "img => (img.loading = 'eager', img.decode().then(() => img.naturalWidth))"
UNFOLD = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


def names(folder, pattern):
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


KINDS = [
    "en/index.html", FIRST, "vi/notebooks/01_matrix_example.html", "en/figures/ledger.html",
    "en/figures/index.html", "en/notebooks/GLOSSARY.html", "en/notebooks/QUIZZES.html",
    "en/notebooks/know/01_matrix_example.html", "en/search.html",
]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_axe_finds_nothing_on_a_page_of_each_kind(site, violations, name):
    for scheme in ("light", "dark"):
        page = site(name, color_scheme=scheme)
        page.evaluate(UNFOLD)
        page.wait_for_timeout(50)  # what became wider than its place gets its key
        assert violations(page) == [], scheme


def test_no_page_scrolls_sideways_on_a_small_phone_or_asks_another_host(site, folder, root):
    page, wide = site("en/search.html", width=320, has_touch=True), {}
    pages = names(folder, "*/**/*.html")
    for name in pages:
        page.goto(root + name)
        page.evaluate(UNFOLD)
        wide[name] = page.evaluate("document.documentElement.scrollWidth")
    assert {name: width for name, width in wide.items() if width > 320} == {}
    assert len(pages) > 60


def test_a_lesson_is_light_and_its_films_stand_in_place_of_their_stills(site, folder, root):
    films = 0
    for name in names(folder, LESSONS):
        page, sizes = site("en/search.html"), []
        page.on("requestfinished", lambda request, s=sizes: s.append(request.sizes()))
        page.goto(root + name, wait_until="networkidle")
        assert 30_000 < sum(each["responseBodySize"] for each in sizes) < FIRST_LOAD, name
        page.evaluate(UNFOLD)
        for film in page.locator("figure[data-sheet]").all():
            film.scroll_into_view_if_needed()
            at = film.get_by_role("slider")
            at.press("End")
            last = at.get_attribute("max")
            expect(at).to_have_value(last)
            drawn = film.locator("div img").first.evaluate(WIDTH)  # all frames, side by side
            assert drawn % (int(last) + 1) == 0
            assert drawn > 200 * int(last)
            films += 1
    assert films >= 3


def test_a_lesson_keeps_its_secrets_marks_questions_and_is_whole_on_paper(site):
    page = site(FIRST)
    answer, said = page.get_by_text("answer: 1228.8"), page.get_by_text("You said: ")
    expect(answer).to_be_hidden()
    groups = page.get_by_role("group", name="Your guess")
    groups.nth(0).get_by_role("button", name="X", exact=True).click()
    expect(said.nth(0)).to_have_text("You said: X. Right.")
    for choice, told in (("10,000", "You said: 10,000. No."), ("1,000", "You said: 1,000. Right.")):
        groups.nth(2).get_by_role("button", name=choice, exact=True).press("Enter")
        expect(answer).to_be_visible()
        expect(said.last).to_have_text(told)
    groups.nth(1).get_by_label("Your guess").fill("2,000")
    groups.nth(1).get_by_role("button").click()
    expect(said.nth(1)).to_have_text("You said: 2,000. Right.")
    expect(page.get_by_text("return (d * k - 1) // (d + k)")).to_be_hidden()

    fields = page.locator("form.quiz fieldset")
    first, third = fields.nth(0), fields.nth(2)
    reason = first.get_by_text("You took for granted that rank 5 leaves")
    for choice, verdict in (
        (None, "Choose first, or write a number."),
        ("Which entries in", "No."),
        ("How much of each row", "Right."),
    ):
        if choice:
            first.get_by_label(choice).check()
        first.get_by_role("button", name="Check").click()
        expect(first.locator(".verdict")).to_have_text(verdict)
        expect(reason).to_be_visible(visible=verdict == "No.")
        expect(first.locator(".why-right")).to_be_visible(visible=verdict == "Right.")
    number = third.get_by_label("Your number")
    for written, verdict in {
        "fifty": "Choose first, or write a number.",
        "50": "No. It is larger.",
        "1,000": "No. It is smaller.",
        "80,0": "Right.",  # as most of the world writes it
    }.items():
        number.fill(written)
        number.press("Enter")
        expect(third.locator(".verdict")).to_have_text(verdict)
    expect(page.locator(".score")).to_have_text("2 / 5 right so far")

    page = site(FIRST)  # as nobody has touched it
    page.emulate_media(media="print")
    expect(page.get_by_text("answer: 1228.8")).to_be_visible()
    expect(page.locator("figure[data-sheet]").first).to_be_hidden()
    expect(page.get_by_text("In the figure: ANNA, mixed from")).to_be_visible()
    drawn = """() => Promise.all(
        [...document.querySelectorAll('article img')].filter(img => img.checkVisibility())
            .map(img => img.decode().then(() => img.naturalWidth)))"""
    assert min(page.evaluate(drawn)) > 100  # none is left for later


def test_an_old_address_leads_to_the_lesson_under_its_new_number(site):
    page = site("en/notebooks/04_intrinsic_rank.html#cell-curves")
    page.wait_for_url("**/05_intrinsic_rank.html#cell-curves")


def test_the_ledger_sorts_and_sifts(site):
    page = site("en/figures/ledger.html")
    rows = page.locator("#ledger tbody tr:not([hidden])")
    verdict, containing = page.get_by_label("verdict"), page.get_by_label("containing")
    head = page.get_by_role("columnheader", name="published")
    total = rows.count()
    verdict.select_option("differs")
    some = rows.count()
    assert 0 < some < total
    expect(page.locator("output")).to_have_text(f"{some} / {total}")
    head.get_by_role("button").press("Enter")
    containing.fill("RoBERTa large")  # on the page it is roberta-large
    expect(page).to_have_url(re.compile("containing=RoBERTa"))  # to be sent to somebody
    page.reload()
    expect(verdict).to_have_value("differs")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert 0 < rows.count() < some
    verdict.select_option("")
    containing.fill("Table 5")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    values = "cells => cells.map(cell => Number(cell.dataset.value))"
    sizes = rows.locator("td:nth-child(4)").evaluate_all(values)
    assert sizes == sorted(sizes, reverse=True)
    with page.expect_download() as download:
        page.get_by_role("link", name="ledger.csv").click()
    assert download.value.path().read_text(encoding="utf-8").startswith("source,table,row")


THOUSAND = "Làm sao một nghìn số thay được mười nghìn số"


@pytest.mark.parametrize("served", [True, False], ids=["served", "from a folder"])
def test_the_search_needs_no_network_and_no_tones(site, folder, root, served):
    for start, field, typed, title in (
        ("en", "Search", "outer product", "Glossary"),
        ("en", "Search", "stochastic rounding", "What does merging cost"),
        ("vi", "Tìm Kiếm", "BẬC TỰ DO", THOUSAND),
        ("vi", "Tìm Kiếm", "bac tu do", THOUSAND),
        ("vi", "Tìm Kiếm", "dong bang", THOUSAND),
    ):
        page = site(f"{start}/index.html", root=root if served else f"{folder.as_uri()}/")
        box = page.get_by_role("searchbox", name=field).first
        box.fill(typed)
        box.press("Enter")
        expect(page.locator("ul.search li").filter(has_text=title).first).to_be_visible()
        if title == "Glossary":  # where words are explained stands first, and leads to its row
            first = page.locator("ul.search li a").first
            if served:  # from a folder no page can be read, so there are titles alone
                expect(page.locator("ul.search li p").first).to_contain_text("of rank 1")
            expect(first).to_have_attribute(
                "href", re.compile("GLOSSARY.html.*#means-outer-product")
            )


TERMS = [  # a page, a term on it, what the glossary says of it, and the cell to which that leads
    ("en/notebooks/05_intrinsic_rank.html", "rank", "independent directions", "direction"),
    ("vi/notebooks/01_matrix_example.html", "đóng băng", "frozen", "break-even"),
]


@pytest.mark.parametrize(("start", "term", "said", "back"), TERMS)
def test_a_term_leads_to_the_glossary_and_from_there_to_its_cell(site, start, term, said, back):
    page = site(start)
    assert page.locator("a.term", has_text=re.compile("^đầu$")).count() == 0  # within đầu vào
    link = page.locator("a.term", has_text=term).first
    place = link.get_attribute("href").partition("#")[2]
    link.click()
    row = page.locator("tr", has=page.locator(f"#{place}"))
    expect(row).to_contain_text(said)
    row.locator(f"a[href$='01_matrix_example.html#cell-{back}']").first.click()
    expect(page).to_have_url(re.compile(f"/{start[:2]}/notebooks/01_.*#cell-{back}"))


def test_each_page_leads_to_the_other_language_which_speaks_it_around_its_text_too(site):
    page = site(FIRST)
    page.get_by_role("link", name="Tiếng Việt").first.click()
    expect(page.locator("html")).to_have_attribute("lang", "vi")
    assert page.locator("article img").first.evaluate(WIDTH) > 100
    for words in ("Trong trang này", "Về đầu trang", "Đến nội dung", "Tiếp theo"):
        expect(page.get_by_text(words).first).to_be_attached()
    around = page.locator("body").inner_text() + page.content()
    assert re.findall("Skip to content|On this page|Back to top|Toggle ", around) == []
    page.get_by_role("link", name="English").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("How can one thousand numbers")
    page = site("en/figures/ledger.html")  # which there is in English alone
    page.get_by_role("link", name="Tiếng Việt").first.click()
    expect(page.locator("html")).to_have_attribute("lang", "vi")


@pytest.mark.smoke
def test_the_first_page_turns_a_voice_and_keeps_its_secret(site):
    page = site(reduced_motion="reduce")
    page.wait_for_url("**/en/index.html")
    said, why = page.locator(".front .said"), page.locator(".front .why")
    slider = page.locator(".front").get_by_role("slider")
    expect(said).to_have_text("Good morning!")
    expect(why).to_have_text("The model alone: its 134,515,008 numbers, and nothing else.")
    for _ in range(4):
        slider.press("ArrowRight")
    expect(said).to_have_text("Arrr! I be glad ye be here, matey!")
    expect(why).to_contain_text("All 407,040 others are added, a file of 0.83 MB.")
    page.get_by_role("radio", name="Grimm").check()
    page.get_by_role("button", name="I am hungry.").press("Enter")
    expect(said).to_contain_text("But the little one said")
    slider.press("Home")
    expect(said).to_contain_text("Guess first: what does it say with less than no Grimm?")
    expect(page.locator(".front .formula")).to_contain_text("− 1")
    page.get_by_role("button", name="Show it").press("Enter")
    expect(said).to_contain_text("🍍🍍🍍")
    expect(why).to_contain_text("Why emoji? We do not know.")
    page.get_by_role("button", name="Copy a link to this").press("Enter")
    page.goto(page.url)
    page.reload()
    expect(said).to_contain_text("🍍🍍🍍")
    expect(page).to_have_url(re.compile("#grimm,-1,2$"))


def test_the_first_page_glides_once_and_says_it_without_scripts_too(site):
    page = site("en/index.html", clock=True)
    said = page.locator(".front .said")
    expect(said).to_have_text("Good morning!")
    page.clock.run_for(2_500)
    page.get_by_role("button", name="I am hungry.").click()  # which does not stop it
    page.clock.run_for(10_000)
    expect(said).to_contain_text("Arrr!")
    expect(page.locator(".front").get_by_role("slider")).to_have_value("8")
    page.clock.run_for(10_000)
    expect(page.locator(".front").get_by_role("slider")).to_have_value("8")
    page = site("en/index.html", java_script_enabled=False)
    expect(page.get_by_text("Arrr! I be glad ye be here, matey!").last).to_be_visible()
