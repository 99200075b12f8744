"""The small lesson in Vietnamese."""

import re
import shutil
import subprocess
import unicodedata

import build
import pytest
from builder import execute
from builder.editions import SPEAKS, printed
from builder.lint import check
from builder.source import BuildError, read_source, tags
from builder.translate import (
    differences,
    digest,
    from_one_folder_down,
    read_terms,
    read_translation,
    slips,
)
from nbformat import NotebookNode
from small_lesson import GOOD, VIETNAMESE, code, text

DIFFERS = "vi/07_small.ipynb: differs from its source; run `notebooks/build.py` for it"


def test_a_translation_shares_code_and_outputs(built):
    assert check(built.source) == ([], [])
    english, other = built.page(), built.page("vi")
    for one, two in zip(english.cells, other.cells, strict=True):
        assert one.id == two.id
        if one.cell_type == "code":
            assert one.source == two.source
            assert (one.outputs == two.outputs) == SPEAKS.isdisjoint(tags(one))
        elif "solution" not in tags(one):
            assert VIETNAMESE[one.id] in two.source
    said = [o.data for cell in other.cells if "claims" in tags(cell) for o in cell.outputs]
    assert "Câu duy nhất ở đây" in said[0]["text/plain"]
    assert "<td>Tổng là 5</td><td>5</td><td>5</td>" in said[0]["text/html"]
    assert (other.metadata.lora_edu.language, "lora_edu" in english.metadata) == ("vi", False)
    assert "<summary>Gợi ý</summary>" in other.cells[6].source
    assert "<summary>Lời giải</summary>" in other.cells[7].source

    # A code cell that the translation does not know is shared.
    built.edit(GOOD[-1], code("news", "print(7 * 6)") + GOOD[-1])
    added = "07_small.ipynb: 9 cells, its source has 10; run `notebooks/build.py` for it"
    assert built.problems()[-2:] == [added, DIFFERS]
    execute.build(built.source)
    assert built.problems() == []
    assert [printed(built.page(each).cells[-2]) for each in ("", "vi")] == ["42\n", "42\n"]


FIRST = "07_small.md:14: cell first: "
WRONG = [  # a piece of the translation, what stands in its place, and what the check says of it
    ("Tổng là 5.", "Tổng là 6.", f"{FIRST}other numbers than in English: [5.0, 6.0]"),
    ("Tổng là 5.", "Kết quả là 5.", f"{FIRST}'sum' is rendered 'tổng'"),
    ("Tổng là 5.", "Tổng, tức hiệu, là 5.", f"{FIRST}'hiệu': say 'tổng'"),
    ("Tổng là 5.", f"Tổng {'là ' * 36}5.", f"{FIRST}38 syllables, at most 35: 'Tổng là"),
    ("Tổng", "[Tổng](../07_small.ipynb)", "07_small.ipynb: differs from its source"),  # may stand
]
REFUSED = [  # with these, the lesson is not built either
    ("Tổng là 5.", "[a](../08_x.ipynb) Tổng là 5.", "07_small.md:16: cell first: a link to neithe"),
    ('"first"', "7", "07_small.md:14: cell 2: an id is made of"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG + REFUSED)
def test_a_faulty_translation_is_named(built, old, new, said):
    built.edit(old, new, built.rendered)
    (found,) = built.problems()
    assert found.startswith(f"vi/{said}")
    if (old, new, said) in REFUSED:
        with pytest.raises(BuildError) as caught:
            execute.build(built.source)
        assert str(caught.value) == found


CELLS = [
    ("The sum total.", "Tổng cộng.", []),  # the longer of two rows
    ("See `sum`.", "Hãy xem.", ["without `sum`"]),
    ("```\na\n```", "", ["without ```\na\n```"]),
    (r"So $r + 1$.", r"Vậy $r - 1$.", ["without the formulas ['r+1']"]),
    (r"$$1{,}000 \quad\text{of}\quad 0.5 .$$", r"$$1.000 \quad\text{từ}\quad 0{,}5 .$$", []),
    ("It holds.", "*Hiệu* đúng, và *hiệu:*.", []),  # what is quoted from a picture
    ("It holds.", "Tùy.", ["'Tùy': the tone stands on the last vowel, as in hoá, toạ, tuỳ"]),
]


@pytest.mark.parametrize(("english", "own", "problems"), CELLS)
def test_a_cell_says_what_the_english_one_says(built, english, own, problems):
    terms = read_terms(built.rendered.parent)
    cell = NotebookNode(source=own, metadata={})
    assert [*differences(english, cell, terms), *slips(own, terms)] == problems


def test_a_cell_says_that_a_word_in_it_is_no_term_and_is_read_as_one_sign_a_letter(built):
    said = "## 1 · Cộng\n\nKết quả là 5."
    built.translate(first=unicodedata.normalize("NFD", said))
    assert read_translation(read_source(built.source), "vi").cells[1].source == said
    for free, wrong in {"sums": True, "sum": False}.items():
        built.translate(first=said)
        built.edit('"id": "first"', f'"free": ["{free}"], "id": "first"', built.rendered)
        assert any("'sum' is rendered" in line for line in built.problems()) == wrong


@pytest.mark.skipif(not shutil.which("git"), reason="needs Git, which knows what was there before")
def test_what_is_late_warns_with_what_has_changed_and_a_release_refuses_it(capsys, built):
    built.translate(**{"a-hint": None, "fifth": "Lạ."})
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in ["init", "-q"], ["add", "."], ["commit", "-qm", "first"]:
        subprocess.run([*git, *command], cwd=built.folder, check=True)
    built.edit("The *sum* is 5", "Their *sum* is 5")
    built.edit("The sum is 5", "Their sum is 5")
    new = digest("## 1 · Adding\n\nTheir *sum* is 5.")
    lines = [
        f'vi/07_small.md:14: cell first: older than the English; then "en": "{new}"',
        "    -The *sum* is 5.",
        "    +Their *sum* is 5.",
        "vi/07_small.md: cell a-hint: not translated",
        "vi/07_small.md:20: cell fifth: no Markdown cell of the source",
    ]
    assert build.main(["07"]) == 0
    capsys.readouterr()
    assert "Think of 5." in built.page("vi").cells[6].source  # not translated: it stays English
    assert build.main(["--check"]) == 0
    told = "\nlate, in translations: 3; python notebooks/build.py --check 07_small\n"
    assert capsys.readouterr().out.endswith(f"as its source says{told}")
    assert build.main(["--check", "07"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == lines
    assert build.main(["--check", "--release"]) == 1
    assert capsys.readouterr().err.splitlines() == lines


def test_english_among_translations_leads_one_folder_up(built):
    leads = from_one_folder_down(
        "[a](07_small.ipynb#a) [b](08_x.ipynb) [c](C.md#c)", built.rendered.parent
    )
    assert leads == "[a](07_small.ipynb#a) [b](../08_x.ipynb) [c](../C.md#c)"


def test_what_changed_is_not_shown_where_git_knows_it_not(built):
    built.edit("The *sum* is 5", "Their *sum* is 5")
    (line,) = check(built.source)[1]
    assert re.fullmatch(r'.*:14: cell first: older than the English; then "en": "\w{8}"', line)


def test_a_skeleton_holds_what_is_missing_and_keeps_what_is_there(capsys, built):
    built.translate(first=None)
    before = built.rendered.read_text()
    built.edit(GOOD[-1], text("more", "## Further\n\nRead.") + GOOD[-1])
    assert build.main(["--translate", "vi", "07"]) == 0
    assert "2 to translate" in capsys.readouterr().out
    full = built.rendered.read_text()
    assert "<!-- English:\n## 1 · Adding\n\nThe *sum* is 5.\n-->" in full
    assert full.endswith("Read.\n-->\n\n## Mở rộng\n")  # a phrase that recurs
    missing = [f"vi/07_small.md: cell {name}: not translated" for name in ("first", "more")]
    assert check(built.source)[1] == missing
    for part in before.split("\n+++")[1:]:
        assert part.strip() in full
    assert build.main(["--translate", "vi", "07"]) == 0
    assert "complete" in capsys.readouterr().out
    assert built.rendered.read_text() == full


def test_a_translation_that_lacks_something_is_named(built):
    folder = built.rendered.parent
    (built.folder / "vi" / "07_small.ipynb").unlink()
    assert built.problems() == [DIFFERS]
    (folder / "terms.md").unlink()
    assert built.problems() == ["vi/terms.md: missing"]
    folder = folder.rename(folder.with_name("xx"))
    (folder / "terms.md").touch()
    assert built.problems() == ["07_small.md: LABELS has no words for 'xx'"]
    (folder / "07_small.md").write_bytes(b"---\n\xff")
    bad = "xx/07_small.md:2: not UTF-8: invalid start byte"
    assert built.problems() == [bad]
