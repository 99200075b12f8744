"""How a source is read, and which sources are refused."""

import build
import pytest
from builder import execute
from builder.source import BuildError, read_source, sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lesson import FRONT, GOOD, text


def test_a_lesson_is_named_by_its_number_or_its_slug(capsys):
    (path,) = sources(["01"])
    assert path.stem == "01_matrix_example"
    assert sources(["matrix_example"]) == sources(["01_matrix_example.ipynb"]) == [path]
    assert build.main(["99"]) == 1
    assert "no lesson is called '99'" in capsys.readouterr().err


CALL = "\n\ncheck_double(double)"
SUM = ":id: sum\n:tags: []"
HINT = '+++ {"id": "a-hint", "tags": ["hint"]}'
FIRST = '+++ {"id": "first", "tags": []}'
ALLOWED = "lora_edu:\n  allowed_numbers: {2021: the year of the paper}\n"
REFUSED = [  # a piece of the good lesson, what stands in its place, the line that names it
    # cells
    (":tags: [exercise]", ":tags: []", "60: cell a-hint: it belongs to no exercise"),
    (HINT, f"{text('more', 'More.')}{HINT}", "64: cell a-hint: it belongs to no exercise"),
    ('"id": "first"', '"id": "title"', "24: cell title: a second cell has this id"),
    (":id: sum", ":id: exercise-solution", "48: cell exercise: exercise-solution is another cell"),
    ("[claims]", "[hint]", "62: cell claims: a hint is Markdown"),
    ('"tags": ["hint"]', '"tags": ["exercise"]', "60: cell a-hint: an exercise is code"),
    ("[claims]", "[Timing]", "62: cell claims: there is no tag 'Timing'; there are approx"),
    (":id: sum\n", "", "28: cell 4 has no id: 'print(2 + 3)'"),
    (":id: sum", ":id: Sum_1", "28: cell 4: an id is made of a-z, 0-9 and -, got 'Sum_1'"),
    (":id: sum", ":id: 7", "28: cell 4: an id is made of a-z, 0-9 and -, got 7"),
    (":id: sum", ":id: [a, b]", "28: cell 4: an id is made of a-z, 0-9 and -, got ['a', 'b']"),
    (SUM, ":id: a\n:tags: slide", "28: cell 4: tags are a list of words: 'slide' is not of"),
    (SUM, ":id: a\n:tags: [1]", "28: cell 4: tags are a list of words: 1 is not of type"),
    (SUM, ":id: a\n:tags: [slide", "30: cell 4: bad metadata: expected ',' or ']', but got"),
    (SUM, ":id a", "28: cell 4: bad metadata: 'id a' is not of type 'object'"),
    (SUM, ":id: *a", "29: cell 4: bad metadata: found undefined alias 'a'"),
    (SUM, ":id: a\x01", "28: cell 4: bad metadata: unacceptable character #x0001"),
    (FIRST, '+++ {"id": "a", "tags": "slide"}', "22: cell 3: tags are a list of words: 'sl"),
    (FIRST, '+++ {"id": "a", tags}', "22: cell 3: bad metadata: Expecting property name"),
    (FIRST, '+++ ["a"]', "22: cell 3: bad metadata: it is not a dict"),
    ('"tags": []', '"tags": ["timing"]', "11: cell title: only code is timing"),
    (":tags: []", ":tags: [timing, approx]", "28: cell sum: it is either approx or timing"),
    ("{code-cell}", "{raw-cell}", "15: cell parameters: it is raw; a cell is Markdown or code"),
    ("The *sum*", "The\u2028sum", "26: a line break other than the newline"),
    ("The *sum*", "The\x1dsum", "26: a line break other than the newline"),
    # exercises
    (CALL, "", "48: cell exercise: a blank line and the call of its check_… end an ex"),
    ("def double(x):\n    r", "x += 1\nr", "48: cell exercise: 'x += 1': what a learner is to"),
    # the front matter
    (FRONT, "---\nwords\n---\n", "1: the front matter: bad metadata: 'words' is not of type"),
    ("{2021:", "[2021:", "6: the front matter: bad metadata: expected ',' or ']'"),
    (ALLOWED, "b: *c\n", "5: the front matter: bad metadata: found undefined alias"),
    (ALLOWED, "lora_edu: 5\n", "5: the front matter: `lora_edu` holds `allowed_numbers`"),
    ("  allowed_numbers", "  numbers", "5: the front matter: `lora_edu` holds `allowed_n"),
    ("{2021: the year of the paper}", "[5]", "5: the front matter: `allowed_numbers` holds"),
    ("{2021:", "{yes:", "5: the front matter: `allowed_numbers` holds lines `number: its"),
    ("{2021:", "{five:", "5: the front matter: `allowed_numbers` holds lines"),
    (": the year of the paper", ":", "5: the front matter: `allowed_numbers` holds lines"),
]


@pytest.mark.parametrize(("old", "new", "line"), REFUSED)
def test_a_source_that_cannot_be_read_is_named_in_one_line(lesson, old, new, line):
    lesson.write(*GOOD)
    lesson.edit(old, new)
    (found,) = lesson.problems()
    assert found.startswith(f"07_small.md:{line}")
    assert "\n" not in found
    with pytest.raises(BuildError) as caught:
        execute.build(lesson.source)
    assert str(caught.value) == found


@pytest.mark.parametrize("way", [[], ["--check"], ["--solved"], ["--own"], ["--seed", "1"]])
def test_the_command_refuses_a_bad_source_in_one_line(capsys, lesson, way):
    path = lesson.write(*GOOD)
    path.write_bytes(path.read_bytes().replace("·".encode(), b"\xb7"))
    assert build.main(way) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "07_small.md:11: cell 1: not UTF-8: invalid start byte"


def test_a_file_from_windows_is_read_as_any_other(lesson):
    path = lesson.write(*GOOD)
    unix = read_source(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    windows = read_source(path)
    assert windows.lines == unix.lines
    assert [cell.source for cell in windows.cells] == [cell.source for cell in unix.cells]


def test_each_cell_knows_its_line(lesson):
    path = lesson.write(*GOOD)
    source, rows = read_source(path), path.read_text().splitlines()
    for cell in source.cells:
        row = rows[source.lines[cell.id] - 1]
        code = cell.cell_type == "code"
        assert row == ("```{code-cell} ipython3" if code else cell.source.splitlines()[0])
    assert source.place(source.cells[0], below=2) == "07_small.md:13: cell title"
    assert source.allowed_numbers == {2021: "the year of the paper"}


SCRAPS = ["---\n", "+++ ", "```\n", ":id: 7\n", ":tags: x\n", "{", "]", "\t", ": ", "*a", "&a "]
SCRAPS += ["- ", '"', "? ", "<<: ", "!!python/object:x ", "%TAG", "lora_edu:\n", "\0", "\ud800"]
SCRAPS += ["\r", "é"]
EDIT = st.tuples(st.floats(0, 1), st.integers(0, 30), st.sampled_from(SCRAPS))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(EDIT, min_size=1))
def test_however_a_source_is_spoilt_it_is_read_or_refused_in_one_line(lesson, edits):
    path = lesson.write(*GOOD)
    content = path.read_bytes()
    for where, length, scrap in edits:
        at = int(where * len(content))
        new = scrap.encode("utf-8", "surrogatepass")  # half a letter is no UTF-8
        content = content[:at] + new + content[at + length :]
    path.write_bytes(content)
    for line in lesson.problems():
        assert line.startswith("07_small.")
        assert "\n" not in line
