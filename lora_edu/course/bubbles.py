"""A conversation as chat bubbles: HTML in a notebook and on the site, else text that wraps."""

import html
import textwrap
from collections.abc import Sequence

BUBBLE = (
    "display:inline-block;max-width:34em;margin:2px 0;padding:6px 12px;border-radius:14px;"
    "text-align:left;vertical-align:middle;font-weight:normal;"
)
YOURS = f"{BUBBLE}color:white;background-color:#005f96"
ITS = f"{BUBBLE}color:black;background-color:#e4e8ec"


class Talk:
    """What :func:`show` returns; its last line in a cell shows it."""

    def __init__(self, text: str, page: str) -> None:
        self.text, self.page = text, page

    def __repr__(self) -> str:
        """Return the conversation as text."""
        return self.text

    def _repr_html_(self) -> str:
        return self.page


def show(asked: Sequence[str], answers: Sequence[str], names: Sequence[object] = ()) -> Talk:
    """Return questions and answers as a conversation, which a notebook shows as bubbles.

    A question that is asked several times in a row stands there once. ``names`` say who gives each
    answer, or at which scale. Where a style is not kept, as on GitHub, a question is bold.
    """
    text, page = [], []
    for i, (question, answer) in enumerate(zip(asked, answers, strict=True)):
        if i == 0 or question != asked[i - 1]:
            text.append(textwrap.fill(question, 80))
            page.append(
                f'<div style="text-align:right;max-width:44em"><b style="{YOURS}">'
                f"{html.escape(question)}</b></div>"
            )
        answer = " ".join(answer.split()).rstrip("\ufffd")  # an emoji that was cut in two
        who = f"{names[i]}: ".replace("-", "−") if names else ""
        lines = textwrap.wrap(who + answer, 80, initial_indent="    ", subsequent_indent="      ")
        text += lines
        bubble = f'<span style="{ITS}">{html.escape(answer)}</span>'
        page.append(f"<div>{html.escape(who)}{bubble}</div>")
    return Talk("\n".join(text), "\n".join(page))
