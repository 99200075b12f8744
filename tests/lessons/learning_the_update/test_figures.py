"""The figures and the records: what they show, against theory and against torch."""

import numpy as np
import pytest
import torch

from lora_edu.course.learning_the_update import checks, experiments, figures
from lora_edu.course.training import fit
from lora_edu.layers import LoRALinear

# -- a film: each direction lights up at its time -------------------------------------------------


def test_each_step_of_the_film_is_one_of_sgd():
    """White inputs: x = √k I, so that x^T x / n is the identity."""
    numbers, word = figures.lighting_up(steps=300), torch.tensor(figures.hidden_word())
    base = torch.nn.Linear(60, 40, bias=False, dtype=torch.float64)
    layer = LoRALinear(base, 5, 5)
    with torch.no_grad():
        layer.lora_A.copy_(torch.tensor(numbers["lora_A"][0]))
    x = 60**0.5 * torch.eye(60, dtype=torch.float64)
    t = (base(x) + x @ word.T).detach()
    sgd = torch.optim.SGD([layer.lora_A, layer.lora_B], lr=0.01)
    fit(layer, [(x, t)], lambda y, t: ((y - t) ** 2).sum() / 120, sgd, numbers["frames"][-1])
    assert layer.lora_A.detach().numpy() == pytest.approx(numbers["lora_A"][-1])
    assert layer.lora_B.detach().numpy() == pytest.approx(numbers["lora_B"][-1])


def test_what_has_not_lit_up_at_the_end_is_not_counted():
    numbers = figures.lighting_up(5, 1e-6)
    assert numbers["half"][2] == 1201
    assert numbers["captions"][-1] == "step 1200: 2 of 3 lit"


@pytest.mark.parametrize("r", [1, 5, 60])
def test_nothing_shoots_off_at_the_bounds(r):
    heights = figures.lighting_up(r, 5, 0.02, 300)["heights"]
    assert np.isfinite(heights).all()
    assert heights.max() < 4


# -- the record -----------------------------------------------------------------------------------


def test_more_steps_lead_to_the_best_fit_of_rank_r_to_noisy_labels():
    """Reduced-rank regression knows it without a step: least squares, then cut on the inputs."""
    rng = np.random.default_rng(0)
    row = experiments.planted(0, ranks=(1, 2, 3), noises=(0.3,))
    U, V = (np.linalg.qr(rng.standard_normal((rows, 3)))[0] for rows in (40, 60))
    delta = (U * [3, 2, 1]) @ V.T
    x, error = rng.standard_normal((100, 60)), rng.standard_normal((100, 40))
    fitted = np.linalg.lstsq(x, x @ delta.T + 0.3 * error, rcond=None)[0].T  # (40, 60)
    U = np.linalg.svd(fitted @ x.T)[0]
    for r, missed in enumerate(row["missed"][0], start=1):
        best = U[:, :r] @ U[:, :r].T @ fitted
        assert missed == pytest.approx(np.sum((best - delta) ** 2) / 14, rel=0.02)


def test_the_rate_that_doubling_alpha_equals_is_found():
    alike, other = [3.0, 2.0, 1.0], [3.0, 2.0, 0.9]
    rates = (f"α = 4, the rate of {strip} doubled" for strip in "AB")
    names = dict.fromkeys(("α = 8", *rates), other)
    names |= {"α = 4, both rates doubled": [3.0, 1.0, 0.1], "α = 8": alike}
    assert checks.same_as(names) == "none"
    assert checks.same_as({**names, "α = 4, the rate of B doubled": alike}) == "B"
    assert checks.same_as({**names, "α = 4, both rates doubled": alike}) == "both"
