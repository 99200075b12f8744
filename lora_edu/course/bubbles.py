"""A conversation as chat bubbles: HTML in a notebook and on the site, else text that wraps."""

import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

BUBBLE = (
    "display:inline-block;max-width:34em;margin:2px 0;padding:6px 12px;border-radius:14px;"
    "text-align:left;vertical-align:middle;font-weight:normal;"
)
YOURS = f"{BUBBLE}color:white;background-color:#005f96"
ITS = f"{BUBBLE}color:black;background-color:#e4e8ec"


class Talk(NamedTuple):
    """What :func:`show` returns; as the last line of a cell it is shown."""

    text: str
    page: str

    def __repr__(self) -> str:
        """Return the conversation as text."""
        return self.text

    def _repr_html_(self) -> str:
        return self.page


def show(asked: Sequence[str], answers: Sequence[str], names: Sequence[object] = ()) -> Talk:
    """Return questions and answers as a conversation, which a notebook shows as bubbles.

    A question that is asked several times in a row stands there once. ``names`` say who gives each
    answer, or its scale. Without style, as on GitHub, a question is bold. Not as many: ValueError.
    """
    many = len(asked), len(answers), len(names or asked)
    if len({*many}) > 1:
        raise ValueError(f"asked, answers and names must be as many, got {many}")
    text, page = [], []
    for i, (question, answer) in enumerate(zip(asked, answers, strict=True)):
        if i == 0 or question != asked[i - 1]:
            text.append(textwrap.fill(question, 80))
            yours = f'<b style="{YOURS}">{escape(question)}</b>'
            page.append(f'<div style="text-align:right;max-width:44em">{yours}</div>')
        answer = " ".join(answer.split()).rstrip("\ufffd")  # an emoji that was cut in two
        who = f"{names[i]}: ".replace("-", "−") if names else ""
        text += textwrap.wrap(who + answer, 80, initial_indent="    ", subsequent_indent="      ")
        page.append(f'<div>{escape(who)}<span style="{ITS}">{escape(answer)}</span></div>')
    return Talk("\n".join(text), "\n".join(page))


ACROSS = "display:flex;justify-content:space-between"
DIAL = (
    "const at = this.querySelector('input'), name = this.querySelector('select').value;"
    "for (const each of this.querySelectorAll('[data-at]'))"
    " each.hidden = each.dataset.at !== name + at.value;"
    "at.ariaValueText = this.querySelectorAll('i')[at.value].textContent"
)


def dial(asked: Mapping[str, str], answers: Mapping[str, Sequence[str]], scales: Sequence) -> Talk:
    """Return answers behind a slider: for each name a question, and its answer at each scale.

    The page itself turns it, so it answers at once even while a cell runs. It begins at the scale
    nearest to zero. Not an answer for each scale, or no name at all: ValueError.
    """
    many = {name: len(answers.get(name, ())) for name in asked}
    if not scales or not asked or {*many.values()} != {len(scales)}:
        raise ValueError(f"each name has an answer for each of {len(scales)} scales, got {many}")
    start = min(range(len(scales)), key=lambda i: abs(scales[i]))
    first = f"{next(iter(asked))}{start}"
    talks = {
        f"{name}{i}": show([asked[name]], [answer], [scale])
        for name in asked
        for i, (answer, scale) in enumerate(zip(answers[name], scales, strict=True))
    }
    shown = "".join(
        f'<div data-at="{escape(at)}"{"" if at == first else " hidden"}>{talk.page}</div>'
        for at, talk in talks.items()
    )
    names = "".join(f"<option>{escape(name)}</option>" for name in asked)
    under = "".join(f"<i>{str(scale).replace('-', '−')}</i>" for scale in scales)
    page = (
        f'<div data-dial oninput="{DIAL}" onkeydown="event.stopPropagation()">'
        f'<select aria-label="voice">{names}</select> <div style="width:30em"><input type="range" '
        f'aria-label="scale" max="{len(scales) - 1}" value="{start}" style="width:100%;margin:0">'
        f'<div style="{ACROSS}">{under}</div></div>{shown}</div>'
    )
    return Talk("\n".join(map(repr, talks.values())), page)


def compare(asked: Sequence[str], answers: Mapping[str, Sequence[str]]) -> Talk:
    """Return a conversation in which several answer each question: their names → their answers."""
    both = [answer for each in zip(*answers.values(), strict=True) for answer in each]
    return show([question for question in asked for _ in answers], both, [*answers] * len(asked))
