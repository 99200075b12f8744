"""``notebooks/build.py``, the command."""

import build
import pytest
from builder import constraints
from small_lesson import GOOD, code, text


@pytest.fixture
def only(monkeypatch):
    """Let the command see one lesson, whatever is named."""
    return lambda source: monkeypatch.setattr(build, "sources", lambda names: [source])


def test_the_command_names_each_lesson_and_fails_when_one_is_refused(capsys, only, built):
    source, _ = built
    only(source)
    assert build.main(["--check"]) == 1  # too small for a lesson
    captured = capsys.readouterr()
    assert "8 cells, not 30 to 80" in captured.err
    assert captured.out.startswith("07_small ")
    assert "NOT RIGHT:" in captured.out
    assert build.main([]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert build.main(["--solved"]) == 0
    assert "every solution passes its check" in capsys.readouterr().out


def test_a_build_says_what_the_text_says_and_nothing_shows(capsys, only, lesson):
    source = lesson(GOOD)
    only(source)
    assert build.main(["07"]) == 0
    text = source.read_text(encoding="utf-8").replace("The sum is 5", "The sum is 6")
    source.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert build.main(["07"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "07_small.ipynb: cell first: no cell of this section shows the number 6"


def test_each_of_its_ways(capsys, only, lesson, tmp_path):
    source = lesson([text("title", "# Small", "slide"), *GOOD[1:]])
    only(source)
    assert build.main(["--own"]) == 0
    assert "your copy" in capsys.readouterr().out
    assert build.main(["--seed", "5"]) == 0
    assert "holds with SEED = 5" in capsys.readouterr().out
    assert build.main(["07"]) == 0
    assert build.main(["--slides", "--out", str(tmp_path / "shown")]) == 0
    assert (tmp_path / "shown" / "07_small.html").exists()


def test_what_is_late_in_a_translation_fails_a_release_alone(capsys, only, translated, monkeypatch):
    source = translated(a_hint=None)
    only(source)
    monkeypatch.setattr(build.lint, "check_size", lambda *_: ())
    monkeypatch.setattr(build.lint, "check_page", lambda *_: ())
    assert build.main(["07"]) == 0
    capsys.readouterr()
    assert build.main(["--check"]) == 0
    assert (
        "\nlate, in translations: 1; python notebooks/build.py --check 07_small\n"
        in capsys.readouterr().out
    )
    assert build.main(["--check", "07"]) == 0
    assert "\nvi/07_small.md: cell a-hint: not translated\n" in capsys.readouterr().out
    assert build.main(["--check", "--release"]) == 1
    assert capsys.readouterr().err == "vi/07_small.md: cell a-hint: not translated\n"
    assert build.main(["--translate", "vi", "07"]) == 0
    assert "1 to translate" in capsys.readouterr().out


@pytest.mark.parametrize("way", [[], ["--check"], ["--solved"], ["--own"], ["--seed", "1"]])
@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ((b":id: sum", b":id: 7"), "07_small.md:28: cell 4: an id is made of"),
        ((b":tags: [exercise]", b":tags: exercise"), "07_small.md:47: cell 6: tags are a list"),
        ((b":tags: [exercise]", b":tags: [exercise"), "07_small.md:49: cell 6: bad metadata: "),
        ((b"{2021:", b"[2021:"), "07_small.md:6: the front matter: bad metadata: "),
        ((b"In 2021", b"In \xff"), "07_small.md:13: cell 1: not UTF-8: "),
    ],
)
def test_a_bad_source_gets_one_line_and_exit_code_1(capsys, only, lesson, way, spoilt, message):
    source = lesson(GOOD)
    source.write_bytes(source.read_bytes().replace(*spoilt))
    only(source)
    assert build.main(way) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_a_kernel_that_dies_gets_one_line_and_exit_code_1(capsys, only, lesson):
    only(lesson([code("deadly", "import os\nos._exit(1)")]))
    assert build.main([]) == 1
    assert capsys.readouterr().err.splitlines() == ["07_small.md:9: cell deadly: the kernel died"]


# -- constraints.txt --------------------------------------------------------------------------


def here(monkeypatch, *pins):
    monkeypatch.setattr(constraints, "pins", lambda: list(pins))


def test_versions_are_written_when_all_lessons_are_built(capsys, only, lesson, monkeypatch):
    cells = [text("title", "# Small"), code("sum", "print(2 + 3)")]
    source = lesson(cells)
    only(source)
    path = source.parents[2] / "constraints.txt"

    here(monkeypatch, "numpy==1")
    assert build.main(["07"]) == 0  # some lessons: not the file's business
    assert not path.exists()
    assert build.main([]) == 0
    assert path.read_text().endswith("\nnumpy==1\n")
    assert "constraints.txt" in capsys.readouterr().out

    here(monkeypatch, "numpy==2")
    for way in (["--check"], ["--solved"], ["--own"], ["--seed", "1"]):
        build.main(way)
    assert path.read_text().endswith("\nnumpy==1\n")
    capsys.readouterr()
    lesson([cells[0], code("sum", "print(2 + 4)")])
    assert build.main(["07"]) == 0  # an output of numpy 2 is committed now ...
    assert "constraints.txt says otherwise of numpy: it is written when" in capsys.readouterr().err
    assert path.read_text().endswith("\nnumpy==1\n")
    assert build.main([]) == 0  # ... and though no output changes any more, the file is mended
    assert path.read_text().endswith("\nnumpy==2\n")
    assert build.main(["07"]) == 0
    assert capsys.readouterr().err == ""


def test_versions_are_not_written_when_a_lesson_is_refused(only, lesson, monkeypatch):
    here(monkeypatch, "numpy==1")
    source = lesson([text("title", "# Small"), code("bad", "1 / 0")])
    only(source)
    assert build.main([]) == 1
    assert not (source.parents[2] / "constraints.txt").exists()
