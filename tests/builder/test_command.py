"""``notebooks/build.py``, the command."""

import build


def test_the_command_names_each_lesson_and_fails_when_one_is_refused(capsys, monkeypatch, built):
    source, _ = built
    monkeypatch.setattr(build, "sources", lambda names: [source])
    assert build.main(["--check"]) == 1  # too small for a lesson
    captured = capsys.readouterr()
    assert "8 cells, not 30 to 70" in captured.err
    assert captured.out.startswith("07_small ")
    assert "refused" in captured.out
    assert build.main([]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert build.main(["--solved"]) == 0
    assert "every solution passes its check" in capsys.readouterr().out
