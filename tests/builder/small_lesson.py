"""A lesson of a few cells, which the tests build, or spoil and see refused."""

import json

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


def spoil(cells, name, new):
    return [new if f'"{name}"' in cell or f":id: {name}\n" in cell else cell for cell in cells]


SOLVED = "def double(x):\n    return 2 * x\n\ncheck_double(double)"


CHECK = """from lora_edu.course.checks import check

@check
def check_double(double):
    assert double(2) == 4, f"double(2) is 4, got {double(2)}"
"""


GOOD = [
    text("title", "# 07 · A small lesson\n\nIn 2021 somebody added 2 and 3."),
    code("parameters", "SEED = 0", "parameters"),
    text("first", "## 1 · Adding\n\nThe sum is 5."),
    code("sum", "print(2 + 3)"),
    code("check", CHECK),
    code("exercise", SOLVED, "exercise"),
    text("a-hint", "Think of 5.", "hint"),
]


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
