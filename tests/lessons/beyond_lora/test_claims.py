"""What the lesson says of its records, each claim on all seeds, beyond their spread.

"Ahead" is :func:`lora_edu.course.experiments.ahead`: the mean of the paired differences over the
seeds exceeds two of its standard errors. "No difference" is that neither is ahead.
"""

import numpy as np
import pytest

from lora_edu.course.experiments import ahead, per_seed, results

pytestmark = pytest.mark.usefixtures("recording")
TASKS = ("rotated", "inverted")
EQUAL = ("lora", "rslora", "lora+", "dora", "lora-fa", "nf4", "pissa", "random start")


def record(task):
    return results(f"variants_{task}")


def test_of(task, method):
    return per_seed(record(task), method)


def validation(task, method, lr):
    return np.array(record(task)["search"][method][f"{lr:g}"])


def passes(task, method):
    goal = per_seed(record(task), "lora", "curve")[:, -1:]
    reached = per_seed(record(task), method, "curve") >= goal
    return np.where(reached.any(1), reached.argmax(1) + 1, 31)


test_of.__test__ = False


def neither(one, other):
    return not ahead(one, other) and not ahead(other, one)


@pytest.mark.parametrize("task", TASKS)
def test_equal_parameters_are_equal(task):
    trained = {m: record(task)["mean"][m]["trained"] for m in EQUAL}
    assert all(abs(n / trained["lora"] - 1) < 0.07 for n in trained.values())


# -- rsLoRA -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_at_a_small_rate_rslora_gains_from_rank_and_lora_does_not(task):
    lr = 1e-3
    assert ahead(validation(task, "rslora r=64", lr), validation(task, "rslora", lr))
    assert ahead(validation(task, "rslora r=64", lr), validation(task, "lora r=64", lr))
    means = (validation(task, m, lr).mean() for m in ("lora", "lora r=64"))
    assert abs(np.subtract(*means)) < 0.03


def test_at_higher_rates_it_turns_round():
    at_8, at_64 = (
        (validation("inverted", m, 5e-3) - validation("inverted", m, 2e-3)).mean()
        for m in ("rslora", "rslora r=64")
    )
    assert at_8 > 0.05
    assert at_64 < -0.05


@pytest.mark.parametrize("task", TASKS)
def test_at_its_own_best_rate_neither_scale_is_ahead_at_64(task):
    assert neither(test_of(task, "rslora r=64"), test_of(task, "lora r=64"))


# -- LoRA+ ------------------------------------------------------------------------------------


def test_loraplus_is_faster_on_inverted_digits():
    slow, fast = passes("inverted", "lora"), passes("inverted", "lora+")
    assert ahead(slow, fast)
    assert slow.mean() > 1.8 * fast.mean()


# -- learning rates ---------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_best_rate_is_a_few_times_that_of_full_fine_tuning_and_hangs_on_alpha(task):
    best = record(task)["chosen"]
    assert 1 <= best["lora"] / best["full"] < 5
    assert best["lora alpha=32"] == best["full"]


@pytest.mark.parametrize("task", TASKS)
def test_rank_8_and_rank_64_want_the_same_rates(task):
    for lr in (1e-3, 2e-3, 5e-3, 1e-2, 2e-2):
        means = (validation(task, m, lr).mean() for m in ("lora", "lora r=64"))
        assert abs(np.subtract(*means)) < 0.1


# -- the table --------------------------------------------------------------------------------


def test_on_turned_digits_it_hardly_matters():
    means = [test_of("rotated", method).mean() for method in ("full", *EQUAL)]
    assert max(means) - min(means) < 0.03


@pytest.mark.parametrize("task", TASKS)
def test_dora_shows_no_gain_and_nf4_no_loss(task):
    assert not ahead(test_of(task, "dora"), test_of(task, "lora"))
    assert not ahead(test_of(task, "lora"), test_of(task, "nf4"))


# -- PiSSA, and its control -------------------------------------------------------------------


def test_pissa_closes_the_gap_and_so_does_a_random_start_of_the_same_size():
    lora, pissa, random = (test_of("inverted", m) for m in ("lora", "pissa", "random start"))
    assert ahead(pissa, lora)
    assert (pissa > lora).all()
    assert ahead(random, lora)
    assert (random > lora).all()
    assert test_of("inverted", "full").mean() - pissa.mean() < 0.02


@pytest.mark.parametrize("task", TASKS)
def test_in_the_end_the_principal_directions_are_not_ahead_of_random_ones(task):
    assert not ahead(test_of(task, "pissa"), test_of(task, "random start"))


def test_after_three_passes_they_are():
    early = {m: per_seed(record("inverted"), m, "curve")[:, 2] for m in EQUAL}
    assert ahead(early["pissa"], early["random start"])
    assert ahead(early["random start"], early["lora"])
