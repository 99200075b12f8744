"""The small lesson in Vietnamese."""

import pytest
from builder import execute
from builder.editions import load, printed
from builder.lint import check
from builder.source import BuildError, read_source, tags
from builder.translate import digest, read_translation, translate
from small_lesson import VIETNAMESE, code, text


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


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"first": None}, "vi/07_small.md: cell first: not translated; the English one is "),
        ({"fifth": "Lạ."}, "vi/07_small.md:24: cell fifth: no Markdown cell of the English source"),
        (
            {"first": "## 1 · Cộng\n\nTổng là 6."},
            "vi/07_small.md:14: cell first: other numbers than in English: [5.0",
        ),
        (
            {"first": "## 1 · Cộng\n\nKết quả là 5."},
            "vi/07_small.md:14: cell first: 'sum' is rendered 'tổng'",
        ),
    ],
)
def test_a_faulty_translation_is_named(translated, cells, problem):
    source = translated()
    execute.build(source)
    assert check(source, size=False) == []
    found = check(translated(**cells), size=False)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_stale_translation_is_named_with_the_new_digest(translated):
    source = translated()
    execute.build(source)
    source.write_text(source.read_text().replace("The sum is 5", "Their sum is 5"))
    new = digest(next(c for c in read_source(source).cells if c.id == "first"))
    assert (
        f'vi/07_small.md:14: cell first: stale; bring it up to date, then set "en": "{new}"'
        in check(source, size=False)
    )


def test_a_translation_that_was_not_built_is_named(translated):
    source = translated()
    execute.build(source)
    (source.parent.parent / "vi" / "07_small.ipynb").unlink()
    assert check(source, size=False) == [
        "vi/07_small.ipynb: differs from its source; run `notebooks/build.py` for it"
    ]


def test_numbers_may_be_written_as_in_vietnamese(translated):
    source = translated()
    text = source.read_text().replace(
        "The sum is 5", "The sum is 1,228.8, of 10,000 and 3.1, not 5"
    )
    source.write_text(text)
    cell = next(c for c in read_source(source).cells if c.id == "first")
    body = "## 1 · Cộng\n\nTổng là 1.228,8, của 10.000 và 3.1, không phải 5."
    translated(first=body)
    file = source.parent / "vi" / source.name
    quoted = digest(cell)
    file.write_text(
        "".join(
            line.replace(line.split('"en": "')[1][:8], quoted) if '"first"' in line else line
            for line in file.read_text().splitlines(keepends=True)
        )
    )
    english = read_source(source)
    assert translate(english, read_translation(english, "vi"))[1] == []


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
    assert "vi/07_small.md:14: cell first: no Markdown cell of the English source" in check(
        source, size=False
    )


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (("Tổng là", "Tổng <b>là</b>"), "vi/07_small.md:16: cell first: HTML other than"),
        (('"first"', "7"), "vi/07_small.md:14: cell 2: an id is made of"),
        (('"first"', '"title"'), "vi/07_small.md:14: cell title: a second cell has this id"),
        (("Tổng là", "[a](data:,b) Tổng là"), "vi/07_small.md:16: cell first: a link to neither"),
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


def test_a_translation_in_latin_1_without_a_glossary_or_without_labels_is_named(translated):
    source = translated()
    execute.build(source)
    folder = source.parent / "vi"
    terms = (folder / "glossary.md").rename(folder / "terms.md")
    assert check(source, size=False) == ["vi/glossary.md: missing"]
    terms.rename(folder / "glossary.md")
    folder.rename(source.parent / "xx")
    assert check(source, size=False) == ["07_small.md: LABELS has no words for 'xx'"]
    (source.parent / "xx" / source.name).write_bytes(b"---\n\xff")
    assert check(source, size=False) == [
        "xx/07_small.md:2: the front matter: not UTF-8: invalid start byte"
    ]
