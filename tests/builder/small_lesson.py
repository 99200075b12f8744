"""A lesson of a few cells, which the tests build, or spoil and see refused."""

import json
import shutil

import nbformat
import yaml
from builder.lint import check
from builder.source import read_source
from builder.translate import digest

FRONT = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
lora_edu:
  allowed_numbers: {2021: the year of the paper}
---
"""


def text(name, body, *labels):
    return f'\n+++ {{"id": "{name}", "tags": {json.dumps(labels)}}}\n\n{body}\n'


def code(name, body, *labels):
    return (
        f"\n```{{code-cell}} ipython3\n:id: {name}\n:tags: [{', '.join(labels)}]\n\n{body}\n```\n"
    )


HEAD, ANSWER = 'def double(x):\n    """Return 2 x."""', "    return 2 * x"
CALL = "\n\ncheck_double(double)"
SOLVED = f"{HEAD}\n{ANSWER}{CALL}"
CHECK = """from lora_edu.course.checks import check
from lora_edu.course.claims import claim, panel

@check
def check_double(double):
    assert double(2) == 4, f"double(2) is 4, got {double(2)}"
"""
PANEL = """# What this section says, held to its numbers (click to read)
panel(
    claim("The sum is 5", 2 + 3, 5)
)"""
CLAIM = {
    "section": "Adding", "cell": "claims", "words": "The sum is 5", "value": "5", "says": "5",
    "within": 0.0, "seeds": "any",
}  # fmt: skip
GOOD = [
    text("title", "# 07 · A small lesson\n\nIn 2021 somebody added 2 and 3."),
    code("parameters", "SEED = 0", "parameters"),
    text("first", "## 1 · Adding\n\nThe *sum* is 5."),
    code("sum", "print(2 + 3)"),
    code("check", CHECK),
    code("exercise", SOLVED, "exercise"),
    text("a-hint", "Think of 5.", "hint"),
    code("claims", PANEL, "claims"),
]


def question(name):
    asks = 'guess = "?"  # more, or less\npredict(guess, sum([2, 3]), "more", 1_000)'
    return code(name, asks, "predict")


IMPORTS = """import matplotlib.pyplot as plt
from lora_edu.course.checks import predict
from lora_edu.course.matrix_example import figures
from lora_edu.course.plots import letters"""
PLOT = "line = [1, 2]\nplt.plot(line)\nplt.show()\nprint(2 + 3)"
FULL = [  # a cell of each kind, each question with something else behind it
    text("title", "# 07 · Small & good\n\nIn 2021 somebody added.", "slide"),
    *GOOD[1:],
    text("second", "## 2 · More\n\nIt is $2 + 3$:\n\n$$x^2$$", "slide"),
    code("imports", IMPORTS),
    question("ask-told"),
    code("shown", "import os\n\nprint('one <two>')", "fragment"),
    text("told", "It is 5.\n\nAnd more.\n\n### Later"),
    question("ask-plot"),
    code("plot", PLOT, "slide"),
    text("plot-text", '**In the figure:** a $x$ that goes "up".', "figure-text"),
    text("plot-why", "So it rises.", "fragment"),
    question("ask-exercise"),
    code("named", "twice = max  # of two\n\ncheck_double(twice)", "exercise"),
    question("ask-bold"),
    text("bold", "**So what?** Words."),
    question("ask-next"),
    text("next-text", "It leads on.", "slide"),
    code("film", "figures.film_of_name(letters('I'))     # press Play", "live"),
    code("still", "figures.a_name_by_its_directions(letters('I'))\nplt.show()", "fragment"),
    text("still-text", "**In the figure:** moments.", "figure-text"),
    question("ask-last"),
    text("know", "## How we know\n\nWe ran it."),
    code("runs", "print('runs')"),
    text("end", "## What you can say"),
]
ASKED = {
    "kind": "concept",
    "ask": "What is 2 + 3?",
    "choices": [{"wrong": "6", "why": "You multiplied."}, {"right": "5"}],
    "why": "One adds.",
    "cell": "sum",
}
TERMS = """
| English | x | never |
|---|---|---|
| sum, sums | tổng | hiệu, tổng số |
| sum total | tổng cộng | |
| ## Further | ## Mở rộng | |
"""
VIETNAMESE = {
    "title": "# 07 · Một bài nhỏ\n\nNăm 2021 có người cộng 2 với 3.",
    "first": "## 1 · Cộng\n\nTổng là 5.",
    "a-hint": "Hãy nghĩ đến 5.",
}


class Lesson:
    """A course whose only lesson is 07_small, in a folder."""

    def __init__(self, root):
        self.root, self.folder = root, root / "notebooks"
        self.source = self.folder / "src" / "07_small.md"
        self.rendered = self.folder / "src" / "vi" / "07_small.md"
        self.notebook = self.folder / "07_small.ipynb"

    def write(self, *cells):
        """Write the source; return its path."""
        self.source.parent.mkdir(parents=True, exist_ok=True)
        self.source.write_text(FRONT + "".join(cells), encoding="utf-8")
        return self.source

    def translate(self, **other):
        """Write the Vietnamese of the good lesson; cells that are other than right by their ids."""
        english = {cell.id: cell for cell in read_source(self.source).cells}
        parts = [FRONT.split("kernelspec")[0] + "---\n"]
        for name, body in {**VIETNAMESE, **other}.items():
            if body is not None:
                quoted = digest(english[name].source) if name in english else "0"
                parts.append(f'\n+++ {{"id": "{name}", "en": "{quoted}"}}\n\n{body}\n')
        self.rendered.parent.mkdir(exist_ok=True)
        self.rendered.with_name("terms.md").write_text(TERMS, encoding="utf-8")
        self.rendered.write_text("".join(parts), encoding="utf-8")

    def spoil(self, change):
        """Change the built notebook."""
        page = self.page()
        change(page)
        self.notebook.write_text(json.dumps(page), encoding="utf-8")

    def edit(self, old, new, path=None):
        """Replace a piece of the source, or of another file."""
        path = path or self.source
        before = path.read_text(encoding="utf-8")
        assert old in before
        path.write_text(before.replace(old, new, 1), encoding="utf-8")

    def ask(self, questions):
        """Write the questions that end the lesson."""
        written = yaml.safe_dump({"small": questions})
        (self.source.parent / "quizzes.yml").write_text(written, encoding="utf-8")

    def page(self, language=""):
        """Read the built notebook."""
        return nbformat.read(self.folder / language / self.notebook.name, as_version=4)

    def problems(self):
        """Return what the static check says."""
        return check(self.source)[0]

    def copy(self, root):
        """Return a copy in another folder."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Lesson(root)
