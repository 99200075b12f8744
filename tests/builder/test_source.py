"""How a source is read, and which sources are refused."""

import build
import pytest
from builder.lint import check
from builder.source import BuildError, read_source, sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lesson import GOOD, SOLVED, code, spoil, text


def test_a_lesson_is_named_by_its_number_or_its_slug(capsys):
    (path,) = sources(["01"])
    assert path.stem == "01_matrix_example"
    assert sources(["matrix_example"]) == sources(["01_matrix_example.ipynb"]) == [path]
    assert build.main(["99"]) == 1
    assert "no lesson is called '99'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([*GOOD[:4], GOOD[6]], "07_small.md:37: cell a-hint: it belongs to no exercise"),
        ([*GOOD, GOOD[2], GOOD[6]], "07_small.md:63: cell first: a second cell has this id"),
        (
            [*GOOD, text("more", "More."), text("b-hint", "No.", "hint")],
            "07_small.md:67: cell b-hint: it belongs to no exercise",
        ),
        (
            [*GOOD, text("exercise-solution", "4")],
            "07_small.md:47: cell exercise: exercise-solution is another cell",
        ),
        (
            [*GOOD[:6], code("a-hint", "2 + 2", "hint")],
            "07_small.md:57: cell a-hint: a hint is Markdown",
        ),
        (
            [*GOOD[:5], text("exercise", "Add.", "exercise")],
            "07_small.md:49: cell exercise: an exercise is code",
        ),
        (
            [*GOOD[:5], code("exercise", SOLVED, "solution")],
            "07_small.md:47: cell exercise: there is no tag 'solution'; there are approx",
        ),
        (
            [*GOOD[:3], "\n```{code-cell} ipython3\nx = 1\n```\n"],
            "07_small.md:28: cell 4 has no id",
        ),
        (
            [*GOOD[:3], code("Sum_1", "1")],
            "07_small.md:28: cell 4: an id is made of a-z, 0-9 and -, got 'Sum_1'",
        ),
        (
            spoil(GOOD, "exercise", code("exercise", "x = 1", "exercise")),
            "07_small.md:47: cell exercise: a blank line and the call of its check_… end an ex",
        ),
        (
            spoil(GOOD, "exercise", code("exercise", f"x += 1\n{SOLVED}", "exercise")),
            "07_small.md:47: cell exercise: 'x += 1': what a learner is to write is a function",
        ),
    ],
)
def test_a_source_that_is_not_complete(lesson, cells, message):
    with pytest.raises(BuildError) as caught:
        read_source(lesson(cells))
    assert message in str(caught.value)
    assert message in check(lesson(cells))[0]  # --check refuses it in the same words


def fence(options):
    return f"\n```{{code-cell}} ipython3\n{options}\n\n1\n```\n"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (fence(":id: 7"), "14: cell 2: an id is made of a-z, 0-9 and -, got 7"),
        (fence(":id: no"), "14: cell 2: an id is made of a-z, 0-9 and -, got False"),
        (fence(":id: [a, b]"), "14: cell 2: an id is made of a-z, 0-9 and -, got ['a', 'b']"),
        (fence(":id: a\n:tags: slide"), "14: cell 2: tags are a list of words: 'slide' is not of"),
        (fence(":id: a\n:tags: [1]"), "14: cell 2: tags are a list of words: 1 is not of type"),
        (fence(":id: a\n:tags: [slide"), "16: cell 2: bad metadata: expected ',' or ']', but got"),
        (fence(":id a"), "14: cell 2: bad metadata: 'id a' is not of type 'object'"),
        (fence(":id: *a"), "15: cell 2: bad metadata: found undefined alias 'a'"),
        (fence(":id: a\x01"), "14: cell 2: bad metadata: unacceptable character #x0001"),
        ('\n+++ {"id": "a", "tags": "slide"}\n\n1\n', "14: cell 2: tags are a list of words: 'sl"),
        ('\n+++ {"id": "a", tags}\n\n1\n', "14: cell 2: bad metadata: Expecting property name"),
        ('\n+++ ["a"]\n\n1\n', "14: cell 2: bad metadata: it is not a dict"),
        (text("a", "1", "timing"), "16: cell a: only code is timing"),
        (code("a", "1", "timing", "approx"), "14: cell a: it is either approx or timing"),
        (fence(":id: a").replace("code-", "raw-"), "14: cell a: it is raw; a cell is Markdown or"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named_in_one_line(lesson, cell, message):
    path = lesson([text("title", "# Small"), "\n", cell, code("after", "1")])
    with pytest.raises(BuildError) as caught:
        read_source(path)
    assert str(caught.value).startswith(f"07_small.md:{message}")
    assert "\n" not in str(caught.value)
    assert check(path) == [str(caught.value)]


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("---\na: [1\n---\n", "2: the front matter: bad metadata: expected ',' or ']'"),
        ("---\na: 1\nb: *c\n---\n", "3: the front matter: bad metadata: found undefined alias"),
        ("---\nonly words\n---\n", "1: the front matter: bad metadata: 'only words' is not of"),
        ("---\nlora_edu: 5\n---\n", "2: the front matter: `lora_edu` holds `allowed_numbers`"),
        ("---\nlora_edu:\n  numbers: {}\n---\n", "2: the front matter: `lora_edu` holds `allow"),
        ("---\nlora_edu:\n  allowed_numbers: [5]\n---\n", "2: the front matter: `allowed_num"),
        ("---\nlora_edu:\n  allowed_numbers: {yes: it}\n---\n", "2: the front matter: `allowed"),
        ("---\nlora_edu:\n  allowed_numbers: {5: }\n---\n", "2: the front matter: `allowed_num"),
        ("---\nlora_edu:\n  allowed_numbers: {five: it}\n---\n", "2: the front matter: `allowed"),
    ],
)
def test_a_front_matter_that_cannot_be_read_is_named_in_one_line(lesson, front, message):
    path = lesson([])
    path.write_text(front + text("title", "# Small"))
    with pytest.raises(BuildError) as caught:
        read_source(path)
    assert str(caught.value).startswith(f"07_small.md:{message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf_8(lesson):
    path = lesson(GOOD)
    path.write_bytes(path.read_bytes().replace("·".encode(), b"\xb7"))
    assert check(path) == ["07_small.md:11: cell 1: not UTF-8: invalid start byte"]


def test_a_file_from_windows_is_read_as_any_other(lesson):
    path = lesson(GOOD)
    unix = read_source(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    windows = read_source(path)
    assert windows.lines == unix.lines
    assert [cell.source for cell in windows.cells] == [cell.source for cell in unix.cells]


def test_each_cell_knows_its_line(lesson):
    path = lesson(GOOD)
    source, rows = read_source(path), path.read_text().splitlines()
    for cell in source.cells:
        row = rows[source.lines[cell.id] - 1]
        if cell.cell_type == "code":
            assert row == "```{code-cell} ipython3"
        else:
            assert row == cell.source.splitlines()[0]
    assert source.place(source.cells[0], below=2) == "07_small.md:13: cell title"
    assert source.allowed_numbers == {2021: "the year of the paper"}


SCRAPS = [
    "---\n",
    "+++ ",
    "```\n",
    ":id: 7\n",
    ":tags: x\n",
    "{",
    "]",
    "\t",
    ": ",
    "*a",
    "&a ",
    "- ",
]
SCRAPS += [
    '"',
    "? ",
    "<<: ",
    "!!python/object:x ",
    "%TAG",
    "lora_edu:\n",
    "\0",
    "\ud800",
    "\r",
    "é",
]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), st.sampled_from(SCRAPS)), min_size=1)
)
def test_however_a_source_is_spoilt_it_is_read_or_refused_in_one_line(lesson, edits):
    path = lesson(GOOD)
    content = path.read_bytes()
    for where, length, scrap in edits:
        at = int(where * len(content))
        new = scrap.encode("utf-8", "surrogatepass")  # half a letter is no UTF-8
        content = content[:at] + new + content[at + length :]
    path.write_bytes(content)
    assert all(line.startswith("07_small.") and "\n" not in line for line in check(path))


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\x1d"])
def test_a_line_ends_in_a_newline_and_in_nothing_else(lesson, separator):
    """Two readers count lines, one of them these too: then cells would be cut in other places."""
    source = lesson([*GOOD[:3], text("odd", f"One{separator}two.")])
    with pytest.raises(BuildError, match=r"07_small\.md:30: a line break other"):
        read_source(source)


def test_a_tag_that_nobody_reads_is_refused(lesson):
    with pytest.raises(BuildError, match="cell slow: there is no tag 'Timing'; there are approx"):
        read_source(lesson([*GOOD[:3], code("slow", "1", "Timing")]))
