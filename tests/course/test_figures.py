import ast
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from lora_edu import counting
from lora_edu.course import LESSONS, figures, plots
from lora_edu.course.counting_parameters import figures as counted
from lora_edu.course.matrix_example import figures as example

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


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
        ax.plot(numbers["path"])
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


def test_a_figure_is_called_as_one_function_and_returns_what_is_recorded(one_figure):
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


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_figures_of_a_lesson_need_no_other_lesson(lesson):
    path = ROOT / "lora_edu" / "course" / lesson / "figures.py"
    if not path.is_file():
        pytest.skip("a lesson without figures")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            others = set((node.module or "").split(".")) & set(LESSONS) - {lesson}
            assert not others, f"{lesson} imports {node.module}"


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


def test_what_is_only_drawn_makes_nothing_stale(tmp_path, one_figure):
    list(figures.write(tmp_path))
    one_figure["path"] = np.array([0.0, 2.0])
    assert figures.check(tmp_path) == []
    one_figure["under"] = {"a": np.zeros(2)}  # neither recorded nor seen to be left out
    with pytest.raises(TypeError, match="ndarray is not JSON serializable"):
        figures.check(tmp_path)


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
    assert [path.name for path in (tmp_path / "a").iterdir()] == [f"tiny.{kind}"]
    assert plt.get_fignums() == []


def test_the_example_is_of_rank_five_whatever_the_seed():
    for seed in range(20):
        W0, lora_A, lora_B = example.matrix_example(seed)
        assert (W0.shape, lora_A.shape, lora_B.shape) == ((100, 100), (5, 100), (100, 5))
        assert np.linalg.matrix_rank(lora_B @ lora_A) == 5


def test_anatomy_draws_the_matrices_it_is_given():
    _, numbers = example.matrix_anatomy(np.eye(6, 4), np.ones((2, 4)), np.ones((6, 2)))
    assert (numbers["d"], numbers["k"], numbers["r"]) == (6, 4, 2)
    assert numbers["rank_of_update"] == 1
    assert numbers["numbers_in_factors"] == 2 * (6 + 4)
    assert numbers["colour_limit"] == pytest.approx(2 * np.std(np.eye(6, 4) + 2))  # W0 + BA, BA = 2


def test_each_figure_says_what_it_shows_in_words():
    for entry in figures.load().values():
        assert len(entry.shows) > 40
        assert len(entry.alt) > 100, "an alt text describes the picture, it does not name it"


def test_model_widths_are_those_of_square_query_projections():
    path = ROOT / "lora_edu" / "data" / "models.json"
    sources = {m["id"]: m["source"] for m in json.loads(path.read_text("utf-8"))["models"]}
    for name, width in example.model_widths().items():
        module = next(
            m
            for n, m in counting.modules(name).items()
            if n.endswith(("query", "q_proj", "attn.c_proj"))
        )
        assert module.out_features == module.in_features == width
        assert len(sources[name]) > 20


@pytest.mark.parametrize(
    ("model", "config", "width"),
    [
        ("roberta-base", "RobertaConfig", "hidden_size"),
        ("llama-2-7b", "LlamaConfig", "hidden_size"),
    ],
)
def test_model_widths_agree_with_transformers_defaults(model, config, width):
    transformers = pytest.importorskip("transformers")
    assert example.model_widths()[model] == getattr(getattr(transformers, config)(), width)


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


def test_the_planted_rank_is_where_the_floor_ends_and_the_overfitting_begins():
    numbers = figures.load()["rank_sweep_planted"].numbers()
    for r, floor, reached in zip(*map(numbers.get, ("ranks", "floors", "clean_loss")), strict=True):
        assert reached == pytest.approx(floor, rel=0.01, abs=1e-4)
        assert (floor > 0) is (r < 3)
    assert numbers["best"] == 3


def test_scaling_and_rank_finds_the_powers_of_theory():
    slopes = figures.load()["scaling_and_rank"].numbers()["slopes"]
    assert slopes["α/r"] == pytest.approx([-0.5, -1, 0], abs=0.1)
    assert slopes["α/√r"] == pytest.approx([0, 0, 0.5], abs=0.1)


def test_the_two_accounts_of_gpt3_are_those_of_the_paper_and_of_the_talk():
    numbers = figures.load()["gpt3_one_terabyte"].numbers()
    one = 96 * 2 * 2 * 12_288  # numbers of a rank-1 adapter: 96 layers, q and v, A and B
    base = 174_604_259_328
    assert numbers["paper_adapter"] == pytest.approx(4 * one * 2 / 1e6)
    assert numbers["talk_adapter"] == pytest.approx(one * 6 / 1e6)
    assert (numbers["paper_full"], numbers["talk_full"]) == (2 * base / 1e9, 6 * base / 1e9)
    assert numbers["talk_ratio"] == pytest.approx(4 * numbers["paper_ratio"])


@pytest.mark.parametrize("model", ["roberta-large", "gpt2-xl"])
def test_plans_of_memory_differ_where_the_methods_do(model):
    full, lora, qlora = counted.memory_plans(model, r=8).values()
    base, trained = counting.base_parameters(model), lora["gradients"] // 4
    linear = 2 * (base - counting.packed_4bit_parameters(model))  # packed: two in one
    assert (full["weights"], lora["weights"]) == (2 * base, 2 * base + 4 * trained)
    # 4 bits, 8 for each block of 64, 32 for 256 blocks; norms and embeddings stay at 16.
    four_bits = linear * (4 + 8 / 64 + 32 / (64 * 256)) / 8
    rest = 2 * (base - linear) + 4 * trained
    assert qlora["weights"] == pytest.approx(four_bits + rest, abs=1)
    assert full["optimizer"] == 8 * base
    assert lora["optimizer"] == qlora["optimizer"] == 8 * trained
    assert full["activations"] == lora["activations"] == qlora["activations"]


def test_the_ledger_is_a_table_of_every_figure():
    import csv

    from lora_edu.course.ledger import ledger

    with open(ROOT / "figures" / "ledger.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = ledger()
    assert len(rows) == sum(len(entry.quantities) for entry in entries)
    assert {row["id"] for row in rows} == {entry.id for entry in entries}
    assert all(row["explanation"] for row in rows if row["verdict"] == "differs")
    text = (ROOT / "figures" / "ledger.md").read_text(encoding="utf-8")
    assert all(f"**{entry.id}**" in text for entry in entries if entry.verdict == "differs")
