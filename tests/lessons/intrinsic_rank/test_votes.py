"""The jury's votes: kept in view, in the order of the page, and never an obstacle."""

import pytest

from lora_edu.course.intrinsic_rank import checks


@pytest.fixture(autouse=True)
def _no_votes(monkeypatch):
    monkeypatch.setattr(checks, "_VOTES", {})


def test_a_vote_shows_all_before_it_and_who_votes_again_keeps_the_place(capsys):
    for verdict, when in (("won", "first"), ("cannot tell", "second"), ("lost", "first")):
        checks.vote(verdict, when)
    said = capsys.readouterr().out.splitlines()[-3:]
    assert said == ["the bet is ...", "  first    lost", "  second   cannot tell"]


@pytest.mark.parametrize("nothing", [None, ...])
def test_no_vote_yet_asks_for_one_and_notes_nothing(nothing, capsys):
    checks.vote(nothing, "first")
    assert "your vote first" in capsys.readouterr().out
    assert checks._VOTES == {}


def test_who_abstains_or_writes_something_else_is_not_stopped(capsys):
    for written in ("?", 7, "both!"):
        checks.vote(written, "first")
    assert "both!" in capsys.readouterr().out


def test_who_cannot_tell_twice_is_asked_what_would_tell(capsys):
    checks.vote("cannot tell", "first")
    assert "Write down" not in capsys.readouterr().out
    checks.vote("cannot tell", "second")
    assert "Write down what you would have to see" in capsys.readouterr().out
