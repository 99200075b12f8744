"""The figures show what the records hold, and compare a cut with the knob that does as much."""

import statistics

import numpy as np
import pytest
from lessons.inside_the_update import cases

from lora_edu.course.experiments import read
from lora_edu.course.inside_the_update import checks, figures
from lora_edu.course.ledger import ledger

SURGERY = read("surgery")["rows"]


@pytest.mark.parametrize("voice", figures.VOICES)
def test_a_share_runs_from_the_base_to_the_whole_adapter(voice):
    assert figures.left(voice, "none") == pytest.approx(np.zeros(len(SURGERY)))
    assert figures.left(voice, "all") == pytest.approx(np.ones(len(SURGERY)))
    assert figures.price(voice, "none") == pytest.approx(np.zeros(len(SURGERY)))
    first, cut = SURGERY[0]["cuts"][voice], "strongest"
    gained = first["none"][voice] - first["all"][voice]
    share = (first["none"][voice] - first[cut][voice]) / gained
    assert figures.left(voice, cut)[0] == pytest.approx(share)
    rise = first[cut]["own"] - first["none"]["own"]
    assert figures.price(voice, cut)[0] == pytest.approx(rise)


@pytest.mark.parametrize("voice", figures.VOICES)
def test_no_scale_of_the_knob_is_better_than_the_knob(voice):
    for scale, words in figures.knob():
        assert figures.better(voice, words) == pytest.approx(np.zeros(len(SURGERY)), abs=1e-12)
        assert (figures.price(voice, words) >= 0).all(), scale


def test_a_cut_is_compared_with_the_knob_at_its_price(monkeypatch):
    losses = {"none": (4.0, 2.0), "all": (2.0, 6.0), "knob 0.5": (3.0, 3.0), "cut": (2.5, 4.25)}
    row = {"cuts": {"v": {cut: {"v": v, "own": own} for cut, (v, own) in losses.items()}}}
    monkeypatch.setattr(figures, "VOICES", {"v": "a voice"})
    monkeypatch.setattr(figures, "rows", lambda name: [row])
    record = {"arguments": {"knob": [0.5], "more": []}, "rows": [row]}
    monkeypatch.setattr(figures, "results", lambda name: record)
    # it costs 2.25, whose root, 1.5, lies half-way between the knob's at .5 and 1: .75 is left
    assert figures.better("v", "cut") == pytest.approx([0])
    row["cuts"]["v"]["cut"] = {"v": 2.0, "own": 4.25}
    assert figures.better("v", "cut") == pytest.approx([0.25])


def test_the_two_records_are_of_the_same_voices():
    """Trained again from the same seed: the whole knob is where the other record has it."""
    for one, other in zip(SURGERY, read("two_voices")["rows"], strict=True):
        assert one["seed"] == other["seed"]
        for voice in figures.VOICES:
            for cut, way in {"none": "none", "all": voice}.items():
                for text, value in one["cuts"][voice][cut].items():
                    assert other["sums"][way][text] == pytest.approx(value, abs=2e-3)


def test_the_layers_are_drawn_where_they_stand():
    fig, numbers = figures.layers_of_a_voice()
    for ax, voice in zip(fig.axes, figures.VOICES, strict=True):
        names = [text.get_text() for text in ax.get_xticklabels()]
        assert names == [str(layer) for layer in figures.LAYERS] + list(figures.KINDS)
        means = [figures.left(voice, f"layer {layer}").mean() for layer in figures.LAYERS]
        drawn = [line for line in ax.lines if line.get_label() == "this layer alone"]
        assert list(drawn[0].get_ydata()) == pytest.approx(means)
        assert numbers[voice]["most_alone"] == round(max(means), 2)


def test_the_knob_and_the_cuts_are_means_of_the_runs():
    fig, numbers = figures.cuts_and_a_knob()
    for ax, voice in zip(fig.axes, figures.VOICES, strict=True):
        line = next(line for line in ax.lines if line.get_linestyle() == "-")
        assert line.get_ydata()[0] == 0
        assert line.get_ydata()[-1] == pytest.approx(1)
        for cut in figures.CUTS:
            prices = [row["cuts"][voice][cut]["own"] for row in SURGERY]
            before = [row["cuts"][voice]["none"]["own"] for row in SURGERY]
            mean = statistics.fmean(prices) - statistics.fmean(before)
            assert numbers[voice][cut][0] == pytest.approx(mean, abs=6e-4)


def test_perplexities_are_of_the_mean_loss():
    of = [row["sums"]["updates"]["pirate"] for row in read("two_voices")["rows"]]
    assert figures.perplexities("updates")[0] == pytest.approx(np.exp(statistics.fmean(of)))
    of = [row["taught"]["on top"]["facts"] for row in SURGERY]
    assert figures.perplexities("on top")[3] == pytest.approx(np.exp(statistics.fmean(of)))


def test_chance_is_what_random_subspaces_have():
    rng = np.random.default_rng(0)
    V, W = (np.linalg.qr(rng.standard_normal((384, n)))[0] for n in (8, 64))
    drawn = np.sum((V.T @ W) ** 2) / 8
    assert figures.chance()[7, 6] == pytest.approx(64 / 384)
    assert drawn == pytest.approx(64 / 384, abs=0.04)


@pytest.mark.parametrize("partner", figures.PARTNERS)
def test_a_map_holds_the_overlaps_of_the_record(partner):
    fig, numbers = figures.two_subspaces([partner])
    part, name = ("untrained", "same") if partner == "untrained" else ("strips", partner)
    of = [row[part][name][0] for row in read("alike")["rows"]]
    assert numbers["whole"][partner] == round(statistics.fmean(phi[7][6] for phi in of), 2)
    shown = fig.axes[0].images[0].get_array()
    assert shown.shape == (4, 7)
    assert shown[0, 0] == pytest.approx(statistics.fmean(phi[0][0] for phi in of))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.alike("twin"), "partner must be one of"),
        (lambda: figures.alike("same", 4), "matrix must be one of 0, 1, 2, 3, None, got 4"),
        (lambda: figures.alike("same", of="ΔW"), "of must be one of strips, updates, got 'ΔW'"),
        (lambda: figures.left("nobody", "all"), "voice must be one of pirate, grimm, got 'nobody'"),
        (lambda: figures.price("pirate", "layer 7"), "cut must be one of .*, got 'layer 7'"),
        (lambda: figures.price("pirate", "all", "grimm"), "text must be one of pirate, own, facts"),
        (lambda: figures.perplexities("both"), "words must be one of .*, got 'both'"),
        (lambda: figures.held(3), "method must be one of .*, got 'r=3'"),
        (lambda: figures.counted("r=8", 0.5), "lr must be one of .*, got 0.5"),
        (lambda: figures.counted("r=8", 0.003, epsilon=0.4), "epsilon must be one of .*, got 0.4"),
        (lambda: figures.counted("r=8", 0.003, k=4), "k must be one of 1, 3, 10, 30, got 4"),
        (lambda: figures.scaled(0.001), "lr must be one of .*, got 0.001"),
        (lambda: figures.two_subspaces("twin"), "partner must be one of"),
    ],
)
def test_bad_input_is_one_clear_line(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_table_7_is_that_of_the_ledger():
    entries = {entry.id: entry for entry in ledger()}
    for r, quantity in zip((4, 64), entries["A.T7.ampl"].quantities, strict=True):
        norms = figures.TABLE_7[r]
        assert norms["update"] / norms["held"] == pytest.approx(float(quantity.derived))
    for r, quantity in zip((4, 64), entries["A.T7.values"].quantities, strict=True):
        assert figures.NORM * r / figures.WIDTH == pytest.approx(float(quantity.derived))


def test_the_bars_run_from_chance_to_the_most():
    fig, numbers = figures.between_chance_and_ceiling()
    for name in ("minilm", "gpt3"):
        for of in numbers[name].values():
            assert 1 <= of["times"] < of["most"]
            assert of["share"] == pytest.approx(100 * of["times"] / of["most"], rel=0.1)
    assert len(fig.axes[0].get_xticks()) == 6


def test_what_is_scaled_by_one_is_whole_and_the_star_stands_there():
    fig, numbers = figures.intruders_scaled()
    for lr in numbers["rates"][1:]:
        last = {words: road[-1].mean(-1) for words, road in figures.scaled(lr).items()}
        for end in last.values():
            assert end == pytest.approx(last["knob"])
    assert numbers["scales"][-1] == 1
    assert len(fig.axes) == 3


def test_the_convincing_picture_does_not_say_what_it_shows():
    fig, steps = figures.a_convincing_picture()
    assert steps == 0
    (ax,) = fig.axes
    assert "trained" not in ax.get_title()
    assert ax.images[0].get_array()[-1, -1] > 0.99


@pytest.mark.seconds
def test_the_film_shows_each_pair_and_what_it_says():
    html = figures.film_of_partners().html.replace("\\u03c6", "φ")
    for partner, words in figures.PARTNERS.items():
        phi = figures.alike(partner, 0)
        assert f"{words}: φ(1, 1) = {round(phi[:, 0, 0].mean(), 2)}" in html


def test_other_right_answers(capsys):
    checks.check_cut(cases.cut_in_torch)
    checks.check_one_adapter(cases.joined_in_torch)
    assert capsys.readouterr().out.count("OK") == 2
