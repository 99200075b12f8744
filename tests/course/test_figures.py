import inspect
import io
import json
import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from lora_edu.course import figures, films, plots
from lora_edu.course.matrix_example import figures as example
from lora_edu.course.say import say

ROOT = Path(__file__).parents[2]
DRAWN_WITH = re.search(r"(?m)^matplotlib==(.+)", (ROOT / "constraints.txt").read_text())[1]


@pytest.fixture
def shown(monkeypatch):
    """The numbers of the only figure in the registry, which is cheap; they can be changed."""
    numbers = {"value": 1.0, "path": np.array([0.0, 1.0]), "under": {"a": [1, 2.0], "b": "words"}}
    figures.load()
    monkeypatch.setattr(figures, "FIGURES", {})

    @figures.figure(lambda: dict(numbers))
    def tiny(numbers):
        """Show a
        point.

        A point at {value:g},
        and a path.
        """
        fig, ax = plt.subplots(figsize=(1, 1))
        ax.plot([numbers["value"]], "o", color=plots.BLACK)
        ax.plot(np.ravel(numbers["path"])[:9])
        ax.set_title("row 3 of 4")
        return fig

    return numbers


@pytest.fixture
def written(tmp_path, shown):
    """A folder into which this figure is drawn."""
    assert list(figures.write(tmp_path)) == [("tiny", True)]
    assert figures.check(tmp_path) == []
    return tmp_path


def test_committed_figures_are_what_the_code_would_draw(monkeypatch):
    monkeypatch.setattr(mpl.figure.Figure, "__init__", None)  # nothing is drawn
    assert figures.check(ROOT / "figures") == []


def opened(png):
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB"), float)


@pytest.mark.slow
@pytest.mark.skipif(mpl.__version__ != DRAWN_WITH, reason=f"drawn with Matplotlib {DRAWN_WITH}")
@pytest.mark.parametrize("name", figures.load())
def test_a_committed_picture_is_what_its_code_draws(name):
    """Equal numbers do not tell that the drawing has changed."""
    entry = figures.FIGURES[name]
    before = opened((ROOT / "figures" / f"{name}.png").read_bytes())
    now = opened(entry.picture(entry.numbers(), "png"))
    assert now.shape == before.shape, f"run `lora-edu figures --only {name}`"
    off = np.abs(now - before).max(axis=2) > 40  # of 255
    assert off.sum() < 100, f"run `lora-edu figures --only {name}`"


@pytest.mark.parametrize("name", figures.load())
def test_a_figure_has_finite_numbers_words_and_frames(name):
    """What `check` finds equal to the numbers of today."""
    text = (ROOT / "figures" / "data" / f"{name}.json").read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=lambda found: pytest.fail(f"{name} holds {found}"))
    assert len(record["shows"]) > 40
    assert len(record["alt"]) > 100, "an alt text describes the picture, it does not name it"
    assert not re.search(r"\{['\w]|array\(|\d\.\d{6}", record["alt"]), "words, not code"
    frames = range(len(record["numbers"].get("captions", [0])))
    assert len(frames) <= films.MOST_FRAMES
    assert set(record["numbers"].get("moments", [0])) <= {*frames}
    picture = (ROOT / "figures" / f"{name}.png").read_bytes()
    assert len(picture) < 200_000
    pixels = opened(picture)
    assert pixels.shape[1] <= 2600  # of 13 inches
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert np.ptp(edges, axis=0).max() == 0, "a label is cut"


@pytest.mark.parametrize("name", figures.load())
def test_a_figure_can_be_drawn_dark_and_narrow_in_vietnamese_and_needs_no_colours(name):
    entry = figures.FIGURES[name]
    fig = entry.draw(entry.numbers(), style="dark", width=3.6, language="vi")
    assert fig.get_figwidth() == pytest.approx(3.6)
    assert plots.BLACK not in [line.get_color() for line in fig.findobj(mpl.lines.Line2D)]
    for ax in fig.axes:
        named = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
        looks = {(line.get_linestyle(), line.get_marker(), line.get_color()) for line in named}
        assert len({look[:2] for look in looks}) == len(looks), "lines differ in colour alone"


# What a picture says in Vietnamese as in English: names of models, of parts, of methods.
NAMES = [
    "LoRA", "DPO", "DoRA", "PiSSA", "rsLoRA", "MLP", "Grimm", "MiniLM", "GPT", "GPT-3", "e-05",
    "all-MiniLM-L6-v2", "gpt2-xl", "llama-2-7b", "gpt3-175b", "llama-3.1-405b", "q_proj", "k_proj",
    "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head", "attention", "query", "key",
    "value", "output", "up", "down", "gate", "float16", "bfloat16", "alpha", "Mv", "Mw",
]  # fmt: skip


@pytest.mark.slow  # what is late is no failure until a release
@pytest.mark.parametrize("name", figures.load())
def test_a_picture_has_no_words_that_the_vietnamese_catalogue_lacks(name):
    entry = figures.FIGURES[name]
    fig = entry.draw(entry.numbers())
    texts = {text.get_text() for text in fig.findobj(mpl.text.Text)}
    same = [text for text in texts if say(text, "vi") == text]
    words = [re.findall(r"[A-Za-z][\w.-]+", re.sub(r"\$[^$]*\$", "", text)) for text in same]
    assert {word for found in words for word in found} <= {*NAMES}


# -- drawing --------------------------------------------------------------------------------------


def test_a_figure_is_called_as_one_function_and_returns_its_numbers(shown):
    tiny = figures.FIGURES["tiny"]
    with plt.rc_context({"axes.spines.top": True}):
        fig, numbers = tiny()
    assert numbers == {"value": 1.0, "under": {"a": [1, 2.0], "b": "words"}}  # but for the array
    assert [list(line.get_ydata()) for line in fig.axes[0].lines] == [[1.0], [0.0, 1.0]]
    assert (tiny.shows, tiny.alt) == ("Show a point.", "A point at {value:g}, and a path.")
    assert not fig.axes[0].spines["top"].get_visible(), "drawn in the reader's style"
    assert list(inspect.signature(example.matrix_anatomy).parameters) == ["W0", "lora_A", "lora_B"]


def test_a_dark_picture_is_pale_on_dark(shown):
    fig = figures.FIGURES["tiny"].draw(shown, style="dark")
    point, path = fig.axes[0].lines
    assert point.get_color() == fig.axes[0].title.get_color() == plots.PALE
    assert path.get_color() == plots.AT_NIGHT[plots.BLUE]
    assert mpl.colors.to_hex(fig.get_facecolor()) == plots.NIGHT


def test_words_on_a_matrix_keep_their_colours_and_what_is_transparent_stays_so():
    fig, axes = plt.subplots(1, 2)
    axes[0].imshow([[0]])
    texts = [ax.text(0, 0, "1", color=plots.BLACK) for ax in axes]
    (hollow,) = axes[1].plot(1, 1, "o", color=plots.GREEN, markerfacecolor="white")
    plots.recolour(fig, plots.AT_NIGHT)
    assert (hollow.get_markeredgecolor(), hollow.get_color()) == (plots.GREEN, plots.GREEN)
    assert hollow.get_markerfacecolor() == plots.NIGHT
    assert [text.get_color() for text in texts] == [plots.BLACK, plots.PALE]


SIZED = [
    ({}, (1, 1), (200, 200)),
    ({"style": "slides"}, (1, 1), (327, 327)),
    ({"style": "slides", "width": 1.8}, (1.1, 1.1), (360, 360)),
]


@pytest.mark.parametrize(("look", "inches", "pixels"), SIZED)
def test_a_picture_is_as_wide_as_asked_and_its_letters_keep_their_size(shown, look, inches, pixels):
    tiny = figures.FIGURES["tiny"]
    fig = tiny.draw(shown, **look)
    assert fig.get_size_inches() == pytest.approx(inches)
    assert fig.axes[0].title.get_fontsize() == 12
    assert opened(tiny.picture(shown, "png", **look)).shape[:2] == pixels


def test_texts_are_translated_with_their_numbers(shown):
    fig = figures.FIGURES["tiny"].draw(shown, language="vi")
    assert fig.axes[0].get_title() == "hàng 3 trên 4"


# -- a folder of them -----------------------------------------------------------------------------


def state_of(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*")}


def test_writing_again_changes_nothing(written):
    before = state_of(written)
    assert list(figures.write(written)) == [("tiny", False)]
    assert state_of(written) == before
    gallery = (written / "README.md").read_text()
    assert "![A point at 1, and a path.](tiny.png)" in gallery
    assert "Show a point." in gallery


def test_only_draws_the_named_one_anew(written):
    figures.FIGURES["tiny"].shows = "Show two."
    assert list(figures.write(written, ["tiny"])) == [("tiny", True)]
    assert figures.check(written) == []  # the gallery, too


CHANGED = [
    ({"value": 1.0 + 1e-9}, None),  # a last digit
    ({"value": 1.0 + 2e-6}, "numbers.value"),
    ({"under": {"a": (1, 2.0 - 1e-9), "b": "words"}}, None),
    ({"under": {"a": [1, 2.1], "b": "words"}}, "numbers.under.a"),
    ({"under": {"a": [1, 2.0], "b": "words", "c": 0}}, "numbers.under.c"),
    ({"path": np.array([0.0, 1.0 + 1e-9])}, None),
    ({"path": np.array([1.0, 0.0])}, "drawn.path.numbers"),  # as large as before
    ({"path": np.array([[0.0, 1.0]])}, "drawn.path.shape"),
]


@pytest.mark.parametrize(("changes", "part"), CHANGED)
def test_the_number_that_changed_is_named(written, shown, changes, part):
    shown.update(changes)
    assert figures.check(written) == ([f"tiny.json: stale, its {part} changed"] if part else [])
    assert list(figures.write(written)) == [("tiny", part is not None)]
    assert figures.check(written) == []


def test_a_change_of_a_matrix_is_seen_and_another_processor_changes_none(tmp_path, shown):
    rng = np.random.default_rng(0)
    noise, more, less = rng.standard_normal((3, 100, 100))
    noise[3] = 0
    shown["path"] = noise
    list(figures.write(tmp_path))
    shown["path"] = noise * (1 + 1e-15 * more) + 1e-14 * less  # so that the zeros are none
    assert figures.check(tmp_path) == []
    shown["path"] = noise.T.copy()
    assert "tiny.json: stale, its drawn.path.numbers changed" in figures.check(tmp_path)
    shown["path"] = noise.copy()
    shown["path"][0, 1] = 0.5  # a number that the record leaves out
    assert "tiny.json: stale, its drawn.path.deviation changed" in figures.check(tmp_path)


@pytest.mark.parametrize("part", ["alt", "shows"])
def test_other_words_are_named(written, part):
    setattr(figures.FIGURES["tiny"], part, "A point at {value:.3f}.")
    stale = [f"tiny.json: stale, its {part} changed", "README.md: missing or stale"]
    assert figures.check(written) == stale


def test_another_style_is_named_and_draws_all_anew(written, monkeypatch):
    monkeypatch.setitem(plots.STYLE, "font.size", 12)
    stale = ["style.json: stale, its font.size changed"]
    assert figures.check(written) == stale
    list(figures.write(written, ["tiny"]))  # one of them: so the others are still stale
    assert figures.check(written) == stale
    assert list(figures.write(written)) == [("tiny", True)]
    assert figures.check(written) == []


DAMAGED = [
    ("tiny.png", None, "missing, or no picture"),
    ("data/tiny.json", None, "missing or damaged"),
    ("data/tiny.json", b'{"name": ', "missing or damaged"),
    ("data/style.json", None, "missing or damaged"),
    ("data/old.json", b"", "belongs to no figure"),
    ("ledger.csv", None, "missing or stale"),
    ("README.md", b"mine", "missing or stale"),
]


@pytest.mark.parametrize(("file", "content", "problem"), DAMAGED)
def test_check_names_what_is_wrong(written, file, content, problem):
    if content is None:
        (written / file).unlink()
    else:
        (written / file).write_bytes(content)
    assert figures.check(written) == [f"{Path(file).name}: {problem}"]


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_for_print_the_same_picture_has_the_same_bytes(tmp_path, shown, kind, monkeypatch):
    files = []
    for folder, date, only in (("a", "0", ()), ("b", "1000000000", ["tiny"])):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", date)  # a date, if one were written
        files += figures.export(tmp_path / folder, kind, only)
    assert files == [tmp_path / "a" / f"tiny.{kind}", tmp_path / "b" / f"tiny.{kind}"]
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith({"svg": b"<?xml", "pdf": b"%PDF"}[kind])
    assert b"/Type3" not in first, "fonts that publishers refuse"
    assert [path.name for path in (tmp_path / "a").iterdir()] == [f"tiny.{kind}"]
    assert plt.get_fignums() == []


def test_the_interval_of_a_figure_is_that_of_scipy():
    runs = np.random.default_rng(0).normal(size=8)
    mean, half = figures.mean_and_half(runs)
    low, high = stats.ttest_1samp(runs, 0).confidence_interval()
    np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-6)
