"""The figures compare a cut with the knob that costs as much, and an overlap with chance."""

import numpy as np
import pytest
import torch

from lora_edu.course.inside_the_update import checks, figures
from lora_edu.course.ledger import ledger


@pytest.mark.parametrize("voice", figures.VOICES)
def test_a_share_runs_from_the_base_to_the_whole_and_the_knob_is_no_better_than_itself(voice):
    for scale, cut in figures.knob():
        assert figures.better(voice, cut) == pytest.approx(np.zeros(8), abs=1e-12)
        if scale in (0, 1):
            assert figures.left(voice, cut) == pytest.approx(np.full(8, scale))
    first, cut = figures.rows("surgery")[0]["cuts"][voice], "strongest"
    none, whole = first["none"], first["all"]
    share = (none[voice] - first[cut][voice]) / (none[voice] - whole[voice])
    assert figures.left(voice, cut)[0] == pytest.approx(share)
    assert figures.price(voice, cut)[0] == pytest.approx(first[cut]["own"] - none["own"])


@pytest.mark.parametrize(("share", "ahead"), [(0.75, 0), (1.0, 0.25)])
def test_a_cut_is_compared_with_the_knob_at_its_price(monkeypatch, share, ahead):
    """It costs 2.25, whose root, 1.5, is half-way between those of the knob at .5 and 1."""
    shares = {"none": 0, "half": 0.5, "all": 1, "cut": share}
    prices = {"none": 0, "half": 1, "all": 4, "cut": 2.25}
    monkeypatch.setattr(figures, "knob", lambda: [(0, "none"), (0.5, "half"), (1, "all")])
    monkeypatch.setattr(figures, "left", lambda _, cut: np.array([shares[cut]]))
    monkeypatch.setattr(figures, "price", lambda _, cut: np.array([prices[cut]]))
    assert figures.better("a voice", "cut") == pytest.approx([ahead])


def test_perplexities_are_of_the_mean_loss():
    nats = figures.losses("on top")  # (runs, texts)
    assert figures.perplexities("on top") == pytest.approx(np.exp(nats.mean(axis=0)))
    row = figures.rows("surgery")[2]["taught"]["on top"]
    assert nats[2].tolist() == [row[text] for text in ("pirate", "grimm", "own", "facts")]


def test_chance_is_what_random_subspaces_have():
    rng = np.random.default_rng(0)
    V, W = (np.linalg.qr(rng.standard_normal((384, n)))[0] for n in (8, 64))
    assert figures.chance()[7, 6] == pytest.approx(np.sum((V.T @ W) ** 2) / 8, abs=0.04)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: figures.alike("twin"), "must be one of"),
        (lambda: figures.alike("same", 4), "matrix must be one of 0, 1, 2, 3, None, got 4"),
        (lambda: figures.left("nobody", "all"), "must be one of grimm, pirate, got 'nobody'"),
        (lambda: figures.price("pirate", "all", "grimm"), "must be one of pirate, own, facts"),
        (lambda: figures.held(3), "method must be one of .*, got 'r=3'"),
        (lambda: figures.counted("r=8", 0.003, epsilon=0.4), "must be one of .*, got '0.4'"),
        (lambda: figures.scaled(0.001), "lr must be one of .*, got 0.001"),
    ],
)
def test_bad_input_is_one_clear_line(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize("place", [0, 1])
def test_table_7_is_that_of_the_ledger(place):
    r, norms = list(figures.TABLE_7.items())[place]
    of = {entry.id: entry.quantities for entry in ledger() if entry.id.startswith("A.T7.")}
    factor = norms["update"] / norms["held"]
    assert factor == pytest.approx(float(of["A.T7.ampl"][place].derived))
    by_chance = figures.NORM * r / figures.WIDTH
    assert by_chance == pytest.approx(float(of["A.T7.values"][place].derived))


@pytest.mark.seconds
def test_the_film_says_what_it_shows():
    html = figures.film_of_partners().html.replace("\\u03c6", "φ")
    for partner, words in figures.PARTNERS.items():
        overlap = round(figures.alike(partner, 0)[:, 0, 0].mean(), 2)
        assert f"{words}: φ(1, 1) = {overlap}" in html


def test_other_right_answers(capsys):
    def cut_in_torch(A, B, r):
        U, S, Vt = torch.linalg.svd(B @ A, full_matrices=False)
        return Vt[:r], U[:, :r] * S[:r]

    def joined_in_torch(A_1, B_1, A_2, B_2, weight):
        return torch.cat([A_1, A_2]), torch.cat([B_1, weight * B_2], 1)

    checks.check_cut(cut_in_torch)
    checks.check_one_adapter(joined_in_torch)
    assert capsys.readouterr().out.count("OK") == 2
