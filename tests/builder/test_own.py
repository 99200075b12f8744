"""The learner's own copies."""

import build
import nbformat
import pytest
from small_lesson import GOOD, VIETNAMESE, code, text


@pytest.fixture
def own(lesson, capsys):
    """A function that makes the copies; returns what the command says, in both languages."""

    def make(*cells):
        lesson.write(*cells)
        assert build.main(["--own"]) == 0
        return capsys.readouterr().out.split(" s  ")[1].strip()

    return make


def test_own_copies_are_made_once_and_never_written_over(lesson, own):
    assert own(*GOOD) == "your copy"
    first = lesson.folder / "mine" / "07_small.ipynb"
    notebook = nbformat.read(first, as_version=4)
    assert all(not c.get("outputs") and not c.get("execution_count") for c in notebook.cells)

    notebook.cells[3].source = "# my own notes"
    nbformat.write(notebook, first)
    worked_on = first.read_bytes()
    assert own(*GOOD) == "yours, kept as it is: 07_small.ipynb"
    news = text("news", "More.")
    assert own(*GOOD, news) == "the lesson has changed: see 07_small-2.ipynb"
    assert own(*GOOD, news) == "yours, kept as it is: 07_small-2.ipynb"
    assert first.read_bytes() == worked_on
    names = sorted(path.name for path in first.parent.iterdir())
    assert names == ["07_small-2.ipynb", "07_small.ipynb"]


@pytest.mark.parametrize("about", [5, {"lesson": 7}, None, "{ half a file"])
def test_what_is_no_copy_of_the_lesson_is_left_to_its_owner(lesson, own, about):
    own(*GOOD)
    path = lesson.folder / "mine" / "07_small.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["lora_edu"] = about
    path.write_text(about if isinstance(about, str) else nbformat.writes(notebook))
    mine = path.read_bytes()
    assert own(*GOOD) == "the lesson has changed: see 07_small-2.ipynb"
    assert path.read_bytes() == mine


def test_the_copies_come_in_each_language(lesson, own):
    lesson.write(*GOOD)
    lesson.translate()
    assert own(*GOOD) == "your copy; vi: your copy"
    copy = nbformat.read(lesson.folder / "mine" / "vi" / "07_small.ipynb", as_version=4)
    assert VIETNAMESE["first"] in [cell.source for cell in copy.cells]
    assert own(*GOOD).endswith("vi: yours, kept as it is: 07_small.ipynb")


TOLD = "Five. $2 + 3$\n\nAnd more."
FOLD = "<details><summary>Your guess first. Then: why</summary>\n\nFive. $2 + 3$\n\n</details>"


FOLDED = [
    ("ask-why", TOLD, f"{FOLD}\n\nAnd more."),
    ("next-text", TOLD, TOLD),  # leads on
    ("ask-why", "## 2 · Five", "## 2 · Five"),
    ("ask-why", "**Predict.** And now?", "**Predict.** And now?"),
]


@pytest.mark.parametrize(("name", "said", "copied"), FOLDED)
def test_the_copies_keep_the_answers_back_and_fold_what_tells_them(lesson, own, name, said, copied):
    asked = code("ask", 'guess = "?"  # more, or less\npredict(guess, 5)', "predict")
    own(asked, code("shown", "print(5)"), text(name, said), text("last-why", "Last."))
    made = nbformat.read(lesson.folder / "mine" / "07_small.ipynb", as_version=4)
    question, _, why, last = made.cells
    assert question.source == "guess = None  # more, or less\npredict(guess, 5)"
    assert why.source == copied
    assert last.source == "Last."
