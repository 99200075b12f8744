"""A subspace against its matrix, written out; directions of a made-up spectrum."""

import pytest
import torch

from lora_edu.course import intrinsic
from lora_edu.course.datasets import mlp
from lora_edu.course.intrinsic import Subspace
from lora_edu.course.training import fit


def small():
    return mlp(5, 7, 3, seed=0)


def test_it_starts_where_the_model_is_and_trains_z_alone():
    generator = torch.Generator().manual_seed(0)
    x, model = torch.randn(6, 5, generator=generator, dtype=torch.float64), small()
    expected, before = model(x), [p.clone() for p in model.parameters()]
    space = Subspace(model, 70, seed=1)
    assert torch.equal(space(x), expected)
    assert [n for n, p in space.named_parameters() if p.requires_grad] == ["z"]
    sgd = torch.optim.SGD([space.z], lr=0.1)
    history = fit(
        space, [(x, torch.zeros(6, 3, dtype=torch.float64))], torch.nn.functional.mse_loss, sgd, 20
    )
    assert history.loss[-1] < 0.7 * history.loss[0]
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_columns_have_length_1_and_come_from_the_seed():
    P, again, other = (Subspace(mlp(64, 8, 10, seed=0), 100, seed=seed).P for seed in (3, 3, 4))
    torch.testing.assert_close(P.norm(dim=0), torch.ones(100, dtype=torch.float64))
    assert torch.equal(P, again)
    assert not torch.equal(P, other)
    assert torch.linalg.matrix_rank(P) == 100
    for sign in (-1, 1):
        assert (sign * P > 0).float().mean() == pytest.approx(0.5 * len(P) ** -0.5, rel=0.1)


def test_theta_is_theta_0_plus_p_z():
    space = Subspace(small(), 4, seed=1)
    space.z.data.copy_(torch.tensor([1.0, -2, 3, 0.5]))
    start = torch.cat([p.flatten() for p in space.start.values()])
    now = torch.nn.utils.parameters_to_vector(space.parameters_now().values())
    torch.testing.assert_close(now, start + space.P @ space.z)
    assert space.P.shape == (space.D, space.d) == (len(start), 4)


def test_only_what_trains_is_moved():
    model = small()
    model.fc1.requires_grad_(False)
    space = Subspace(model, 1, seed=0)
    assert list(space.start) == ["fc2.weight", "fc2.bias"]
    assert space.D == 24


SPECTRA = [([3.1, 1, 0], 1), ([2.9, 1, 0], 2), ([0.0, 0, 0], 0)]


@pytest.mark.parametrize(("spectrum", "directions"), SPECTRA)
def test_r90_counts_directions(spectrum, directions):
    U, _ = torch.linalg.qr(torch.randn(20, len(spectrum)))
    assert intrinsic.r90(U * torch.tensor(spectrum)) == directions
