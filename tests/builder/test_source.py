"""How a source is read; and one table of what is refused in it, with the line that names it."""

import build
import pytest
from builder import execute
from builder.source import BuildError, read_exercise, read_source, sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_lesson import ANSWER, CALL, GOOD, HEAD, SOLVED, text

SUM = ":id: sum\n:tags: []"
FIRST = '+++ {"id": "first", "tags": []}'
ALLOWED = "lora_edu:\n  allowed_numbers: {2021: the year of the paper}\n"
HERE = "The *sum* is 5."
HTML, RAW = "cell first: HTML other than <details>: ", "cell first: a MyST directive (Jupyter show"
LINK = "cell first: a link to neither https://…, nor #…, nor a sibling"
WRITTEN = "48: cell exercise: an exercise is a function, or lines `name = value`"
DOCUMENTED = "48: cell exercise: double: a docstring, and an answer below it"
REFUSED = [  # a piece of the good lesson, what stands in its place, what is said
    # cells
    (":tags: [exercise]", ":tags: []", "61: cell a-hint: it belongs to no exercise"),
    ('"id": "first"', '"id": "title"', "24: cell title: a second cell has this id"),
    (":id: sum", ":id: exercise-solution", "48: cell exercise: exercise-solution is another cell"),
    ("[claims]", "[hint]", "63: cell claims: `hint` is for a cell of markdown"),
    ("[claims]", "[Timing]", "63: cell claims: there is no tag 'Timing'; there are approx"),
    (":id: sum\n", "", "28: cell 4 has no id: 'print(2 + 3)'"),
    (":id: sum", ":id: Sum_1", "28: cell 4: an id is made of a-z, 0-9 and -, got 'Sum_1'"),
    (SUM, ":id: a\n:tags: [slide", " bad metadata: Code cell 3 at line 28 could"),
    (FIRST, '+++ {"id": "a", tags}', " bad metadata: Markdown cell 2 at line 22"),
    ('"tags": []', '"tags": ["timing"]', "11: cell title: `timing` is for a cell of code"),
    (":tags: []", ":tags: [timing, approx]", "28: cell sum: it is either approx or timing"),
    ("{code-cell}", "{raw-cell}", "15: cell parameters: it is raw; a cell is Markdown or code"),
    ("The *sum*", "The\u2028sum", "26: a line break other than the newline"),
    (SUM, ":id: sum\n:tags: [nbval-skip]", "28: cell sum: nbval-skip: say what the cell is: app"),
    ("print(2 + 3)", "1  #PYTEST_VALIDATE_IGNORE_OUTPUT", "28: cell sum: #PYTEST_VALIDATE_IGNOR"),
    ("print(2 + 3)", "plot()\n[1];", "28: cell sum: ends in `;`, which nbval does not honour"),
    # exercises
    (CALL, f"{CALL}\nb = 2", "48: cell exercise: a blank line and the call of its check_… end an"),
    (SOLVED, f"a ={CALL}", "48: cell exercise: no Python: "),
    (SOLVED, f"a, b = 1, 2{CALL}", WRITTEN),
    (HEAD, f"a = 1\n{HEAD}", WRITTEN),
    (HEAD, "def double(x):", DOCUMENTED),
    (f"\n{ANSWER}", "", DOCUMENTED),
    # the front matter
    ("{2021:", "[2021:", " bad metadata: Notebook metadata: while"),
    (ALLOWED, "lora_edu: 5\n", "5: the front matter: `lora_edu` holds `allowed_numbers`"),
    ("  allowed_numbers", "  numbers", "5: the front matter: `lora_edu` holds `allowed_n"),
    ("{2021:", "{yes:", "5: the front matter: `allowed_numbers` holds lines `number: its"),
    (": the year of the paper", ":", "5: the front matter: `allowed_numbers` holds lines"),
    # what a page may not hold
    (HERE, "Open\n\n<details ontoggle=alert(1)>", f"28: {HTML}'<details ontoggle=alert(1)>'"),
    (HERE, "<details>\n<img src=x onerror=a()>", f"26: {HTML}'<img src=x onerror=a()>'"),
    (HERE, "a ` tick\n\n<b>bold</b> and ` another", f"28: {HTML}'<b>'"),
    (HERE, "``` {note}\nIt\n```", f"26: {RAW}"),
    (HERE, "Nothing refers\n\n[to]: data:text/html,it", f"28: {LINK}"),
    (HERE, "[it](javascript:alert(1))", f"26: {LINK}"),
    (HERE, "![a picture](picture.png)", f"26: {LINK}"),
    (HERE, "[it](06_missing.ipynb)", f"26: {LINK}"),
    (HERE, "[it](07_small.ipynb/../../README.md)", f"26: {LINK}"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_what_a_source_may_not_hold_is_named_with_its_line_and_not_built(lesson, old, new, said):
    lesson.write(*GOOD)
    lesson.edit(old, new)
    found = lesson.problems()[0]
    assert found.startswith(f"07_small.md:{said}")
    assert "\n" not in found
    with pytest.raises(BuildError) as caught:
        execute.build(lesson.source)
    assert str(caught.value).startswith(found)
    assert not lesson.notebook.exists()


BY = "checks.check_it(a, 2)"
LONG = 'import ast\n\n@cache\ndef double(\n    x: int,  # Δ\n) -> int:\n    """Say\n\n    2 x."""'
FUNCTIONS = [(HEAD, ANSWER), (LONG, "\n    # twice\n    y = x  # one\n\n    return x + y  # 2")]


@pytest.mark.parametrize(("head", "body"), FUNCTIONS)
def test_of_a_function_its_head_is_left(head, body):
    assert read_exercise(f"{head}\n{body}\n\n{BY}") == (
        f"{head}\n    raise NotImplementedError\n\n{BY}",
        f"{head}\n{body}",
        f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION",
        BY,
        "check_it",
    )


ASSIGNMENTS = [
    ("a = [1, 2]   # two of Δ", "a = ...   # two of Δ", "a = [1, 2]"),
    ("a = (1 + 2)\nb = '#1'", "a = ...\nb = ...", "a = (1 + 2)\nb = '#1'"),
    ("a = {'Δ': 1, 3: f(x)}  # b", "a = {'Δ': ..., 3: ...}  # b", "a = {'Δ': 1, 3: f(x)}"),
]


@pytest.mark.parametrize(("written", "stub", "solution"), ASSIGNMENTS)
def test_of_an_assignment_its_name_is_left(written, stub, solution):
    marked = f"{stub}\n### BEGIN SOLUTION\n{written}\n### END SOLUTION"
    found = read_exercise(f"{written}\n\n{BY}")
    assert found == (f"{stub}\n\n{BY}", solution, marked, BY, "check_it")


def test_what_a_page_may_hold(lesson):
    body = """<details open>

<summary>More</summary>

[a page](https://example.org/a_b?c#d), <https://example.org>, [here](#title), a [lesson][1],
`<b>code</b>`, $a < b > c$ and 2 < 3. [its part](07_small.ipynb#sum)

</details>

[1]: 07_small.ipynb
"""
    lesson.write(text("good", body), GOOD[1])
    (found,) = lesson.problems()
    assert "missing, or no notebook" in found


def test_the_command_refuses_a_bad_source_in_one_line_and_a_name_that_is_none(capsys, lesson):
    path = lesson.write(*GOOD)
    path.write_bytes(path.read_bytes().replace("·".encode(), b"\xb7"))
    for way in ([], ["--check"], ["--own"]):
        assert build.main(way) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == "07_small.md:11: not UTF-8: invalid start byte"
    (path,) = sources(["01"])
    assert sources(["matrix_example"]) == sources(["01_matrix_example.ipynb"]) == [path]
    with pytest.raises(BuildError, match="no lesson is called '99'"):
        sources(["99"])


def test_a_file_from_windows_is_read_as_any_other(lesson):
    path = lesson.write(*GOOD)
    unix = read_source(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    windows = read_source(path)
    assert (windows.lines, windows.cells) == (unix.lines, unix.cells)


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
