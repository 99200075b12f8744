"""The small lesson in Vietnamese."""

import re
import shutil
import subprocess
import unicodedata

import pytest
from builder import execute
from builder.editions import load, printed
from builder.lint import check, late
from builder.source import BuildError, read_source, tags
from builder.translate import (
    differences,
    digest,
    read_terms,
    read_translation,
    slips,
    write_skeleton,
)
from nbformat import NotebookNode
from small_lesson import TERMS, VIETNAMESE, code, text


def test_a_translation_shares_code_and_outputs(translated):
    source = translated()
    assert execute.build(source)
    assert not execute.build(source)
    assert check(source, size=False) == []
    root = source.parent.parent
    english, other = (load(root / f / "07_small.ipynb") for f in (".", "vi"))
    for one, two in zip(english.cells, other.cells, strict=True):
        assert one.id == two.id
        if one.cell_type == "code":
            assert one == two
        elif "solution" not in tags(one):
            assert VIETNAMESE[one.id] in two.source
    assert "<summary>Gợi ý</summary>" in other.cells[6].source
    assert "<summary>Lời giải</summary>" in other.cells[7].source


FAULTS = {
    "Tổng là 6.": "other numbers than in English: [5.0",
    "Kết quả là 5.": "'sum' is rendered 'tổng'",
    "Tổng, tức hiệu, là 5.": "'hiệu': say 'tổng'",
    "Tổng hóa 5.": "'hóa': the tone stands on the last vowel",
    "Tổng " + "là " * 36 + "5.": "38 syllables, at most 35: 'Tổng là",
}


@pytest.mark.parametrize(("said", "problem"), FAULTS.items(), ids=FAULTS.values())
def test_a_faulty_translation_is_named(translated, said, problem):
    source = translated()
    execute.build(source)
    assert (check(source, size=False), late(source)) == ([], [])
    found = check(translated(first=f"## 1 · Cộng\n\n{said}"), size=False)
    assert len(found) == 1
    assert found[0].startswith(f"vi/07_small.md:14: cell first: {problem}")


@pytest.mark.parametrize(
    ("english", "own", "problems"),
    [
        ("The sum total.", "Tổng cộng.", []),  # the longer of two rows
        ("The sum total, a sum.", "Số tổng cộng.", []),
        ("A sum total.", "Tổng.", ["'sum total' is rendered 'tổng cộng'"]),
        ("The `sum` of $sum$.", "Một `sum` và $sum$.", []),  # code and formulas are no words
        ("See `sum`.", "Hãy xem.", ["without `sum`"]),
        ("```\na\n```\n`b` or `c`", "```\na\n```\n`c`, `b`", []),
        ("```\na\n```", "", ["without ```\na\n```"]),
        (r"So $r\,(d + k)$.", r"Vậy $r (d+k)$.", []),
        (r"So $r + 1$.", r"Vậy $r - 1$.", ["without the formulas ['r+1']"]),
        (
            r"$$1{,}000 \quad\text{instead of}\quad 0.5 .$$",
            r"$$1.000 \quad\text{thay vì}\quad 0{,}5 .$$",
            [],
        ),
        ("1,228.8, of 10,000 and 3.1", "1.228,8, của 10.000 và 3.1", []),
        ("Llama 3.1", "Llama 3,1", []),
        ("It holds.", "*Hiệu* đúng, và *hiệu:*.", []),  # what is quoted from a picture
        ("It holds.", "Quý, của, thuế.", []),
        ("It holds.", "Tuỳ, hoá, khoẻ.", []),
        ("It holds.", "Tùy.", ["'Tùy': the tone stands on the last vowel, as in hoá, toạ, tuỳ"]),
    ],
)
def test_a_cell_says_what_the_english_one_says(translated, english, own, problems):
    terms = read_terms(translated().parent / "vi")
    cell = NotebookNode(source=own, metadata={})
    assert [*differences(english, cell, terms), *slips(own, terms)] == problems


def test_a_cell_in_which_a_word_is_no_term_says_so(translated):
    terms = read_terms(translated().parent / "vi")
    for free, problems in (["sum"], []), (["sums"], ["'sum' is rendered 'tổng'"]):
        cell = NotebookNode(source="Kết quả.", metadata={"free": free})
        assert [*differences("A sum.", cell, terms)] == problems


def test_a_translation_is_read_as_one_sign_a_letter(translated):
    source = translated(first=unicodedata.normalize("NFD", VIETNAMESE["first"]))
    read = read_translation(read_source(source), "vi")
    assert read.cells[1].source == VIETNAMESE["first"]


@pytest.mark.skipif(not shutil.which("git"), reason="needs Git, which knows what was there before")
def test_what_is_late_warns_with_what_has_changed_and_a_release_refuses_it(translated):
    source = translated(a_hint=None, fifth="Lạ.")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in ["init", "-q"], ["add", "."], ["commit", "-qm", "first"]:
        subprocess.run([*git, *command], cwd=source.parent, check=True)
    source.write_text(source.read_text().replace("The sum is 5", "Their sum is 5"))
    execute.build(source)
    new = digest(next(c for c in read_source(source).cells if c.id == "first").source)
    lines = [
        f'vi/07_small.md:14: cell first: older than the English; then "en": "{new}"\n'
        "    -The sum is 5.\n    +Their sum is 5.",
        "vi/07_small.md: cell a-hint: not translated",
        "vi/07_small.md:20: cell fifth: no Markdown cell of the source",
    ]
    assert late(source) == lines
    assert check(source, size=False) == []
    other = load(source.parent.parent / "vi" / "07_small.ipynb")
    assert "Think of 5." in other.cells[6].source  # what is not translated stays English


def test_what_changed_is_not_shown_where_git_knows_it_not(translated):
    source = translated()
    source.write_text(source.read_text().replace("The sum is 5", "Their sum is 5"))
    assert re.fullmatch(
        r'vi/07_small.md:14: cell first: older than the English; then "en": "\w{8}"',
        "".join(late(source)),
    )


def test_a_skeleton_holds_what_is_missing_and_keeps_what_is_there(translated):
    source = translated(first=None)
    file = source.parent / "vi" / source.name
    before = file.read_text()
    assert write_skeleton(read_source(source), "vi") == "1 to translate"
    assert "<!-- English:\n## 1 · Adding\n\nThe sum is 5.\n-->" in file.read_text()
    assert late(source) == ["vi/07_small.md: cell first: not translated"]
    for part in before.split("\n+++")[1:]:
        assert part.strip() in file.read_text()
    full = file.read_text()
    assert write_skeleton(read_source(source), "vi") == "complete"
    assert file.read_text() == full


def test_a_skeleton_comes_with_the_phrases_that_recur(lesson):
    source = lesson([text("more", "## Further\n\nRead.")])
    folder = source.parent / "vi"
    folder.mkdir()
    (folder / "terms.md").write_text(TERMS)
    assert write_skeleton(read_source(source), "vi") == "1 to translate"
    assert (folder / source.name).read_text().endswith("Read.\n-->\n\n## Mở rộng\n")


def test_a_translation_that_was_not_built_is_named(translated):
    source = translated()
    execute.build(source)
    (source.parent.parent / "vi" / "07_small.ipynb").unlink()
    assert check(source, size=False) == [
        "vi/07_small.ipynb: differs from its source; run `notebooks/build.py` for it"
    ]


def test_a_code_cell_that_the_translation_does_not_know_is_shared(translated):
    source = translated()
    execute.build(source)
    news = code("news", "print(7 * 6)")
    source.write_text(source.read_text() + news)
    assert check(source, size=False) == [
        "07_small.ipynb: 8 cells, its source has 9; run `notebooks/build.py` for it",
        "vi/07_small.ipynb: differs from its source; run `notebooks/build.py` for it",
    ]
    assert execute.build(source)
    assert check(source, size=False) == []
    for folder in (".", "vi"):
        last = load(source.parent.parent / folder / "07_small.ipynb").cells[-1]
        assert printed(last) == "42\n"
        assert last.execution_count == 5

    source.write_text(source.read_text().replace(news, ""))
    assert execute.build(source)
    assert check(source, size=False) == []


def test_a_cell_that_was_markdown_and_is_code_now(translated):
    source = translated()
    execute.build(source)
    markdown = text("first", "## 1 · Adding\n\nThe sum is 5.")
    source.write_text(source.read_text().replace(markdown, code("first", "print(5)")))
    assert late(source) == ["vi/07_small.md:14: cell first: no Markdown cell of the source"]


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (("Tổng là", "Tổng <b>là</b>"), "vi/07_small.md:16: cell first: HTML other than"),
        (('"first"', "7"), "vi/07_small.md:14: cell 2: an id is made of"),
        (('"first"', '"title"'), "vi/07_small.md:14: cell title: a second cell has this id"),
        (("Tổng là", "[a](data:,b) Tổng là"), "vi/07_small.md:16: cell first: a link to neither"),
        (("Tổng là", "[a](../08_x.ipynb) Tổng là"), "vi/07_small.md:16: cell first: a link to"),
    ],
)
def test_a_translation_is_held_to_the_rules_of_the_page(translated, spoilt, message):
    source = translated()
    file = source.parent / "vi" / source.name
    execute.build(source)
    file.write_text(file.read_text().replace(*spoilt))
    assert any(line.startswith(message) for line in check(source, size=False))
    with pytest.raises(BuildError) as caught:
        execute.build(source)
    assert str(caught.value).startswith(message)


def test_a_translation_leads_to_an_english_lesson(translated):
    source = translated(first="## 1 · Cộng\n\n[Tổng](../07_small.ipynb) là 5.")
    execute.build(source)
    assert check(source, size=False) == []


def test_a_translation_in_latin_1_without_terms_or_without_labels_is_named(translated):
    source = translated()
    execute.build(source)
    folder = source.parent / "vi"
    terms = (folder / "terms.md").rename(folder / "words.md")
    assert check(source, size=False) == ["vi/terms.md: missing"]
    terms.rename(folder / "terms.md")
    folder.rename(source.parent / "xx")
    assert check(source, size=False) == ["07_small.md: LABELS has no words for 'xx'"]
    (source.parent / "xx" / source.name).write_bytes(b"---\n\xff")
    assert check(source, size=False) == [
        "xx/07_small.md:2: the front matter: not UTF-8: invalid start byte"
    ]
