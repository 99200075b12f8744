"""The claims of a page: what carries them, who collects them, what their words quote."""

import json

import pytest
from builder.claims import quotes

CLAIM = {
    "section": "Adding", "cell": "claims", "words": "The sum is 5", "value": "5", "says": "5",
    "within": 0.0, "seeds": "any",
}  # fmt: skip


def test_the_build_collects_the_claims_of_all_lessons(built):
    file = built.root / "lora_edu" / "course" / "data" / "claims.json"
    assert json.loads(file.read_text(encoding="utf-8")) == {"small": [CLAIM]}


QUOTES = [
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
]


@pytest.mark.parametrize(("words", "says", "quoted"), QUOTES)
def test_words_quote_what_they_are_held_to(words, says, quoted):
    assert quotes(words, says) is quoted


UNSEEN = "cell first: no cell of this section shows the number 7"
UNSAID = "cell claims: no sentence of its section says “{}”"


PROSE = [
    ("The *sum* is 5.", "The sum is 5", []),
    ("The sum is 5, of 7.", "The sum is 5", [UNSEEN]),
    ("The total is 5.", "The sum is 5", [UNSAID.format("The sum is 5")]),
    ("The sum is 5.", "sum", [UNSAID.format("sum")]),  # one word
    ("The sum of 2 is 5.", "sum of 2", ["cell claims: “sum of 2” is held to 5"]),
]


@pytest.mark.parametrize(("prose", "words", "said"), PROSE)
def test_prose_may_say_a_number_that_a_claim_holds_and_says_each_claim(built, prose, words, said):
    built.rendered.unlink()
    page = built.page()
    page.cells[2].source = f"## 1 · Adding\n\n{prose}"
    page.cells[3].outputs[0].text = "2 and 3"  # not 5
    page.cells[-1].outputs[0].metadata.lora_edu.claims[0]["words"] = words
    built.notebook.write_text(json.dumps(page), encoding="utf-8")
    found = [line.removeprefix("07_small.ipynb: ") for line in built.problems()]
    other = ("cell first: differs", "claims.json has other claims")
    assert [line for line in found if not line.startswith(other)] == said
