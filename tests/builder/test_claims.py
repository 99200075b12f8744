"""The claims of a page: where they stand, what carries them, who collects them."""

import json

import nbformat
import pytest
from builder import execute
from builder.claims import FIRST_LINE, claims_of, collection, quotes
from builder.editions import load, own_edition
from builder.lint import check
from builder.source import BuildError, read_source
from small_lesson import FRONT, GOOD, code, spoil, text

IMPORTS = "from lora_edu.course.claims import claim, panel"


def panel(*claims):
    return f"{FIRST_LINE}\npanel(\n    {', '.join(claims)}\n)"


SUM = 'claim("The sum is 5", 2 + 3, 5)'
HELD = [
    GOOD[0],
    code("parameters", f"{IMPORTS}\nSEED = 0", "parameters"),
    text("first", "## 1 · Adding\n\nThe *sum* is 5. Nothing prints it: `2 + 3`, $2 + 3$."),
    code("sum", "print('2 and 3')"),
    code("claims", panel(SUM), "claims"),
]


@pytest.fixture(scope="session")
def held(tmp_path_factory):
    """A lesson with one claim, built once: its folder, and the text of its notebook."""
    source = tmp_path_factory.mktemp("held") / "notebooks" / "src" / "07_small.md"
    source.parent.mkdir(parents=True)
    source.write_text(FRONT + "".join(HELD), encoding="utf-8")
    assert execute.build(source) is True
    return source, (source.parent.parent / "07_small.ipynb").read_text(encoding="utf-8")


@pytest.fixture
def committed(held, lesson):
    """The same, to be spoilt: returns its source, its notebook, and how to write that back."""
    source, notebook = lesson(HELD), nbformat.reads(held[1], as_version=4)
    path = collection(source.parent.parent)
    path.parent.mkdir(parents=True)
    path.write_bytes(collection(held[0].parent.parent).read_bytes())

    def write():
        (source.parent.parent / "07_small.ipynb").write_text(json.dumps(notebook))
        return [line for line in check(source, size=False) if "differs from its source" not in line]

    return notebook, write


def test_the_panel_is_folded_and_carries_its_claims(held):
    source, _ = held
    notebook = load(source.parent.parent / "07_small.ipynb")
    last = notebook.cells[-1]
    assert last.metadata == {"jupyter": {"source_hidden": True}, "tags": ["claims"]}
    assert last.outputs[0].data == {"text/plain": "The one sentence held here holds."}
    (claim,) = claims_of(notebook)
    assert claim == {
        "section": "Adding", "cell": "claims", "words": "The sum is 5", "value": "5", "says": "5",
        "within": 0.0, "seeds": "any",
    }  # fmt: skip


def test_the_build_collects_the_claims_of_all_lessons(held):
    source, _ = held
    text = collection(source.parent.parent).read_text(encoding="utf-8")
    assert json.loads(text) == {"small": claims_of(load(source.parent.parent / "07_small.ipynb"))}


def test_a_number_that_a_claim_holds_may_stand_in_the_prose(committed):
    _, write = committed
    assert write() == []


@pytest.mark.parametrize(
    ("prose", "problem"),
    [
        (
            "## 1 · Adding\n\nThe sum is 6.",
            "cell first: no cell of this section shows the number 6",
        ),
        ("## 1 · Adding\n\nThe sum is 6.", "no sentence of its section says “The sum is 5”"),
        ("## 1 · Adding\n\nThe total is 5.", "no sentence of its section says “The sum is 5”"),
        ("## 1 · Adding\n\nThe sum is 5, of 1 claim.", "shows the number 1"),
    ],
)
def test_prose_that_says_something_else(committed, prose, problem):
    notebook, write = committed
    notebook.cells[2].source = prose
    assert any(problem in line for line in write())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cell: cell.outputs.clear(), "cell claims: it shows no panel of claims"),
        (lambda cell: cell.metadata.tags.append("slide"), "claims are no part of the slides"),
        (lambda cell: cell.update(source="panel()"), "a reader sees its first line"),
        (
            lambda cell: cell.outputs[0].metadata.lora_edu.claims[0].update(value="7"),
            "claims.json has other claims of this lesson; run",
        ),
    ],
)
def test_a_panel_that_is_not_as_it_should_be(committed, change, problem):
    notebook, write = committed
    change(notebook.cells[-1])
    assert any(problem in line for line in write())


@pytest.mark.parametrize(
    ("words", "says", "quoted"),
    [
        ("the sum is 5", "5", True),
        ("the sum is 5", "6", False),
        ("100 for ours", "50", False),
        ("500 + 500 = 1,000", "(500, 500, 1,000)", True),
        ("All 100 rows are mixtures of five", "(100, 5)", True),
        ("in a third of them", "0.333", True),
        ("17 % of them", "0.17", True),
        ("17 % of them", "0.18", False),
        ("rank 64 is below 1", "below 2", True),
        ("8 of 10 times", "7 to 9", True),
        ("two of them are 7", "True", True),
    ],
)
def test_words_quote_what_they_are_held_to(words, says, quoted):
    assert quotes(words, says) is quoted


def test_a_claim_that_does_not_hold_stops_a_build_with_its_words_and_both_values(lesson):
    source = lesson(
        spoil(HELD, "claims", code("claims", panel(SUM.replace("2 + 3", "2 + 4")), "claims"))
    )
    with pytest.raises(BuildError, match=r"cell claims: AssertionError: “The sum is 5”: now 6 \("):
        execute.build(source)


def test_the_learners_copy_keeps_the_answers_back(lesson):
    asked = code("ask", 'guess = "?"  # more, or less\nprint(guess)', "predict")
    source = read_source(lesson([*HELD[:4], asked]))
    assert own_edition(source).cells[-1].source == "guess = None  # more, or less\nprint(guess)"
    assert source.cells[-1].source.startswith('guess = "?"')


def test_the_learners_copy_folds_what_tells_the_answer(lesson):
    asked = code("ask", 'guess = "?"\npredict(guess, 5)', "predict")
    told = "Five. $2 + 3$\n\nAnd more."
    for name, said, folded in (
        ("ask-why", told, True),
        ("next-text", told, False),  # leads on
        ("ask-why", "## 2 · Five", False),
        ("ask-why", "**Predict.** And now?", False),
    ):
        cells = [asked, code("shown", "print(5)"), text(name, said), text("last-why", "Last.")]
        *_, why, last = own_edition(read_source(lesson([*HELD[:4], *cells]))).cells
        fold = "<details><summary>Your guess first. Then: why</summary>\n\nFive. $2 + 3$\n\n"
        assert why.source == (f"{fold}</details>\n\nAnd more." if folded else said)
        assert last.source == "Last."
