import io
import json
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from lora_edu.cli import main
from lora_edu.course import figures, plots
from lora_edu.course.matrix_example import figures as example

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one_figure(monkeypatch):
    """A registry that holds a single cheap figure, whose numbers can be changed."""
    state = {"value": 1.0, "path": np.array([0.0, 1.0]), "under": {"a": [1, 2.0], "b": "words"}}
    figures.load()
    monkeypatch.setattr(figures, "FIGURES", {})

    @figures.figure(lambda: dict(state))
    def tiny(numbers):
        """Show a
        point.

        A point at {value:g},
        and a path.
        """
        fig, ax = plt.subplots(figsize=(1, 1))
        ax.plot([numbers["value"]], "o")
        ax.plot(np.ravel(numbers["path"])[:9])
        return fig

    return state


def forbid_drawing(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something is drawn")

    monkeypatch.setattr(mpl.figure.Figure, "__init__", refuse)
    monkeypatch.setattr(mpl.figure.Figure, "savefig", refuse)


def test_committed_figures_are_what_the_code_would_draw(monkeypatch):
    forbid_drawing(monkeypatch)
    assert figures.check(ROOT / "figures") == []


DRAWN_WITH = re.search(r"(?m)^matplotlib==(.+)", (ROOT / "constraints.txt").read_text())[1]


@pytest.mark.slow
@pytest.mark.skipif(mpl.__version__ != DRAWN_WITH, reason=f"drawn with Matplotlib {DRAWN_WITH}")
@pytest.mark.parametrize("name", figures.load())
def test_a_committed_picture_is_what_its_code_draws(name):
    """Numbers may be as they were, and what draws them another: no record tells."""
    entry = figures.FIGURES[name]
    with Image.open(ROOT / "figures" / f"{name}.png") as committed:
        before = np.asarray(committed.convert("RGB"), float)
    drawn = Image.open(io.BytesIO(entry.picture(entry.numbers(), "png"))).convert("RGB")
    now = np.asarray(drawn, float)
    assert now.shape == before.shape, f"run `lora-edu figures --only {name}`"
    off = np.abs(now - before).max(axis=2) > 40  # of 255
    assert off.sum() < 100, f"run `lora-edu figures --only {name}`"


def test_a_figure_is_called_as_one_function_and_returns_its_numbers(one_figure):
    tiny = figures.FIGURES["tiny"]
    fig, numbers = tiny()
    assert numbers == {"value": 1.0, "under": {"a": [1, 2.0], "b": "words"}}  # but for the array
    assert [list(line.get_ydata()) for line in fig.axes[0].lines] == [[1.0], [0.0, 1.0]]
    assert (tiny.shows, tiny.alt) == ("Show a point.", "A point at {value:g}, and a path.")


def test_a_figure_is_drawn_in_the_style_of_the_course(one_figure):
    with plt.rc_context({"axes.spines.top": True}):
        fig, _ = figures.FIGURES["tiny"]()
    assert not fig.axes[0].spines["top"].get_visible()


def test_a_notebook_is_told_what_a_figure_takes():
    import inspect

    assert list(inspect.signature(example.matrix_anatomy).parameters) == ["W0", "lora_A", "lora_B"]
    assert "to scale and on one colour scale" in example.matrix_anatomy.__doc__


def test_writing_again_changes_nothing(tmp_path, one_figure):
    assert list(figures.write(tmp_path)) == [("tiny", True)]
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*.*")}
    assert list(figures.write(tmp_path)) == [("tiny", False)]
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*.*")}
    assert figures.check(tmp_path) == []
    assert "![A point at 1, and a path.](tiny.png)" in (tmp_path / "README.md").read_text()
    assert "Show a point." in (tmp_path / "README.md").read_text()


def test_checking_draws_nothing(tmp_path, one_figure, monkeypatch):
    list(figures.write(tmp_path))
    forbid_drawing(monkeypatch)
    assert figures.check(tmp_path) == []
    one_figure["value"] = 2.0
    assert "tiny: stale, its numbers.value changed" in figures.check(tmp_path)
    with pytest.raises(AssertionError, match="something is drawn"):
        list(figures.write(tmp_path))


def test_only_draws_the_named_one_anew(tmp_path, one_figure):
    list(figures.write(tmp_path))
    assert list(figures.write(tmp_path, ["tiny"])) == [("tiny", True)]
    with pytest.raises(ValueError, match="no figure is called 'huge'; there are tiny"):
        list(figures.write(tmp_path, ["huge"]))


def test_a_last_digit_is_no_change_and_a_real_one_is(tmp_path, one_figure):
    list(figures.write(tmp_path))
    one_figure["value"] = 1.0 + 1e-9
    one_figure["under"] = {"a": (1, 2.0 - 1e-9), "b": "words"}
    assert figures.check(tmp_path) == []
    one_figure["value"] = 1.0 + 2e-6
    assert figures.check(tmp_path) == ["tiny: stale, its numbers.value changed"]
    assert list(figures.write(tmp_path)) == [("tiny", True)]
    assert figures.check(tmp_path) == []


@pytest.mark.parametrize(
    ("under", "changed"),
    [
        ({"a": [1, 2.1], "b": "words"}, "under.a"),
        ({"a": [1.5, 2.5], "b": "words"}, "under.a"),  # once, and not for each number
        ({"a": [1, 2.0, 3], "b": "words"}, "under.a"),
        ({"a": [1, 2.0], "b": "others"}, "under.b"),
        ({"a": [1, 2.0]}, "under.b"),
        ({"a": [1, 2.0], "b": "words", "c": 0}, "under.c"),
        (1, "under"),
    ],
)
def test_the_number_that_changed_is_named(tmp_path, one_figure, under, changed):
    list(figures.write(tmp_path))
    one_figure["under"] = under
    assert figures.check(tmp_path) == [f"tiny: stale, its numbers.{changed} changed"]


def test_what_is_only_drawn_is_compared_as_well(tmp_path, one_figure):
    list(figures.write(tmp_path))
    one_figure["path"] = np.array([0.0, 1.0 + 1e-9])
    assert figures.check(tmp_path) == []
    one_figure["path"] = np.array([1.0, 0.0])  # as large as before
    assert figures.check(tmp_path) == ["tiny: stale, its drawn.path.numbers changed"]
    one_figure["path"] = np.array([[0.0, 1.0]])
    assert figures.check(tmp_path) == ["tiny: stale, its drawn.path.shape changed"]
    one_figure["under"] = {"a": np.zeros(2)}  # an array stands by itself
    with pytest.raises(TypeError, match="ndarray is not JSON serializable"):
        figures.check(tmp_path)


@pytest.fixture
def drawn_matrix(tmp_path, one_figure):
    """The folder of a figure of a matrix (100, 100) of noise, and the matrix, to be changed."""
    matrix = one_figure["path"] = np.random.default_rng(0).standard_normal((100, 100))
    matrix[3] = 0
    list(figures.write(tmp_path))
    return tmp_path, matrix


def test_another_processor_changes_no_matrix(drawn_matrix):
    folder, matrix = drawn_matrix
    rng = np.random.default_rng(1)
    matrix *= 1 + 1e-15 * rng.standard_normal(matrix.shape)
    matrix += 1e-14 * rng.standard_normal(matrix.shape)  # so that the zeros are none
    assert figures.check(folder) == []


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda M: M.T.copy(), "numbers"),
        (lambda M: np.roll(M, 1, axis=0), "numbers"),
        (lambda M: M[:, ::-1].copy(), "numbers"),
        (lambda M: -M, "numbers"),
        (lambda M: np.where(np.arange(10_000).reshape(100, 100) == 1, 0.5, M), "deviation"),
        (lambda M: np.where(np.max(M) == M, 9.0, M), "most"),
        (lambda M: np.where(np.min(M) == M, -9.0, M), "least"),
        (lambda M: M.reshape(50, 200), "shape"),
    ],
)
def test_a_change_of_a_matrix_is_seen(drawn_matrix, one_figure, change, seen):
    folder, matrix = drawn_matrix
    one_figure["path"] = change(matrix)
    assert f"tiny: stale, its drawn.path.{seen} changed" in figures.check(folder)


def test_a_record_of_a_matrix_is_short_and_of_all_its_columns(drawn_matrix):
    folder, matrix = drawn_matrix
    summary = json.loads((folder / "data" / "tiny.json").read_text())["drawn"]["path"]
    assert summary["numbers"] == pytest.approx(matrix.ravel()[:: summary["every"]])
    assert len(summary["numbers"]) <= 400
    assert len({at % 100 for at in range(0, matrix.size, summary["every"])}) == 100


@pytest.mark.parametrize(("size", "every"), [(1, 1), (399, 1), (400, 3), (12_080, 61)])
def test_of_few_numbers_all_are_recorded(tmp_path, one_figure, size, every):
    one_figure["path"] = np.arange(size)
    list(figures.write(tmp_path))
    summary = json.loads((tmp_path / "data" / "tiny.json").read_text())["drawn"]["path"]
    assert (summary["every"], summary["numbers"]) == (every, list(range(0, size, every)))


@pytest.mark.parametrize(
    ("part", "words"), [("alt", "A point at {value:.3f}."), ("shows", "Show two.")]
)
def test_other_words_are_named_and_written(tmp_path, one_figure, part, words):
    list(figures.write(tmp_path))
    setattr(figures.FIGURES["tiny"], part, words)
    gallery = "README.md: the gallery is missing or stale"
    assert figures.check(tmp_path) == [f"tiny: stale, its {part} changed", gallery]
    assert list(figures.write(tmp_path)) == [("tiny", True)]
    assert figures.check(tmp_path) == []


def test_the_gallery_follows_the_one_that_is_drawn(tmp_path, one_figure):
    list(figures.write(tmp_path))
    figures.FIGURES["tiny"].shows = "Show two."
    list(figures.write(tmp_path, ["tiny"]))
    assert figures.check(tmp_path) == []


def test_another_style_is_named_and_draws_all_anew(tmp_path, one_figure, monkeypatch):
    list(figures.write(tmp_path))
    monkeypatch.setitem(plots.STYLE, "font.size", 12)
    stale = ["every figure: stale, the style's font.size changed"]
    assert figures.check(tmp_path) == stale
    list(figures.write(tmp_path, ["tiny"]))  # one of them: so the others are still stale
    assert figures.check(tmp_path) == stale
    assert list(figures.write(tmp_path)) == [("tiny", True)]
    assert figures.check(tmp_path) == []
    assert list(figures.write(tmp_path)) == [("tiny", False)]


def test_a_run_that_is_interrupted_is_not_taken_for_a_whole_one(tmp_path, one_figure):
    figures.figure(lambda: {})(lambda _: None)  # it draws no figure, which stops the writing
    for _ in range(2):
        writing = figures.write(tmp_path)
        assert next(writing) == ("tiny", True)
        with pytest.raises(AttributeError):
            next(writing)


def test_the_same_code_in_other_words_leaves_everything_fresh(tmp_path, one_figure, monkeypatch):
    list(figures.write(tmp_path))
    monkeypatch.setattr(figures, "FIGURES", {})

    @figures.figure(lambda: one_figure)
    def tiny(shown):  # another comment
        """Show a point.

        A point at {value:g}, and a path.
        """
        picture, axes = plt.subplots(
            figsize=(1, 1),
        )
        axes.plot(
            [shown["value"]],
            "o",
        )
        axes.plot(shown["path"])
        return picture

    assert figures.check(tmp_path) == []
    assert list(figures.write(tmp_path)) == [("tiny", False)]


def spoil_record(folder):
    path = folder / "data" / "tiny.json"
    path.write_text(path.read_text()[:-20])


def spoil_keys(folder):
    path = folder / "data" / "tiny.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": "0"}))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda f: (f / "tiny.png").unlink(), "tiny: the picture is missing"),
        (lambda f: (f / "data" / "tiny.json").unlink(), "missing or damaged"),
        (spoil_record, "tiny: the numbers behind it are missing or damaged"),
        (spoil_keys, "tiny: stale, its code changed"),  # what no record holds
        (lambda f: (f / "data" / "tiny.json").write_text("[]"), "missing or damaged"),
        (lambda f: (f / "data" / "style.json").unlink(), "every figure: stale, the style it was"),
        (lambda f: (f / "orphan.png").touch(), "orphan.png: belongs to no figure"),
        (lambda f: (f / "data" / "old.json").touch(), "old.json: belongs to no figure"),
        (lambda f: (f / "old.csv").touch(), "old.csv: belongs to no figure"),
        (lambda f: (f / "ledger.csv").unlink(), "ledger.csv: the table is missing or stale"),
        (lambda f: (f / "ledger.md").write_text("mine"), "ledger.md: the table is missing or"),
        (lambda f: (f / "README.md").write_text("mine"), "the gallery is missing or stale"),
        (lambda f: (f / "README.md").write_bytes(b"\xff"), "the gallery is missing or stale"),
        (lambda f: (f / "tiny.png").write_bytes(b""), "tiny: the picture is missing, or none"),
    ],
)
def test_check_names_what_is_wrong(tmp_path, one_figure, spoil, problem):
    list(figures.write(tmp_path))
    spoil(tmp_path)
    found = figures.check(tmp_path)
    assert len(found) == 1
    assert problem in found[0]


def test_two_figures_cannot_share_a_name(one_figure):
    def tiny(numbers):
        return None

    with pytest.raises(ValueError, match="two figures are called 'tiny'"):
        figures.figure(lambda: {})(tiny)


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_for_print_the_same_picture_has_the_same_bytes(tmp_path, one_figure, kind, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # a date, if one were written
    first = list(figures.export(tmp_path / "a", kind))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    second = list(figures.export(tmp_path / "b", kind, ["tiny"]))
    assert (first, second) == ([tmp_path / "a" / f"tiny.{kind}"], [tmp_path / "b" / f"tiny.{kind}"])
    assert first[0].read_bytes() == second[0].read_bytes()
    assert first[0].read_bytes().startswith({"svg": b"<?xml", "pdf": b"%PDF"}[kind])
    assert b"/Type3" not in first[0].read_bytes(), "fonts that publishers refuse"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [f"tiny.{kind}"]
    assert plt.get_fignums() == []


def test_each_figure_says_what_it_shows_in_words():
    for entry in figures.load().values():
        assert len(entry.shows) > 40
        assert len(entry.alt) > 100, "an alt text describes the picture, it does not name it"


def test_small_png_keeps_the_picture():
    import io

    from PIL import Image

    fig, _ = example.matrix_anatomy()
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    large = buffer.getvalue()
    small = plots.small_png(large)
    assert len(small) < len(large) / 2
    assert small == plots.small_png(large)
    pictures = [np.asarray(Image.open(io.BytesIO(p)).convert("RGB"), float) for p in (large, small)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 2  # of 255


def test_the_command_draws_the_figures_and_then_finds_nothing_to_do(tmp_path, capsys, monkeypatch):
    two = {name: figures.load()[name] for name in ("matrix_anatomy", "rank_and_noise")}
    monkeypatch.setattr(figures, "FIGURES", two)
    out = str(tmp_path / "figures")
    assert main(["figures", "--out", out]) == 0
    assert "matrix_anatomy" in capsys.readouterr().out
    assert main(["figures", "--check", "--out", out]) == 0
    (tmp_path / "figures" / "matrix_anatomy.png").unlink()
    assert main(["figures", "--check", "--out", out]) == 1
    assert "matrix_anatomy: the picture is missing" in capsys.readouterr().err
