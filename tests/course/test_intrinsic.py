import pytest
import torch

from lora_edu.course import intrinsic
from lora_edu.course.datasets import mlp
from lora_edu.course.intrinsic import Subspace
from lora_edu.course.training import fit

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def matrix(space):
    """P, (D, d), column by column."""
    columns = []
    for i in range(space.d):
        space.z.data.zero_()[i] = 1
        columns.append(space.offset().detach())
    space.z.data.zero_()
    return torch.stack(columns, 1)


def test_it_starts_where_the_model_is_and_trains_z_alone():
    model = mlp(5, 7, 3, seed=0)
    expected, before = model(X), [p.clone() for p in model.parameters()]
    space = Subspace(model, 70, seed=1)
    assert torch.equal(space(X), expected)
    assert [n for n, p in space.named_parameters() if p.requires_grad] == ["z"]
    sgd, target = torch.optim.SGD([space.z], lr=0.1), torch.zeros(6, 3)
    history = fit(space, [(X, target)], torch.nn.functional.mse_loss, sgd, 20)
    assert history.loss[-1] < 0.7 * history.loss[0]
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_columns_have_length_1_and_come_from_the_seed():
    spaces = [Subspace(mlp(64, 8, 10, seed=0), 100, seed=s) for s in (3, 3, 4)]
    P, again, other = map(matrix, spaces)
    torch.testing.assert_close(P.norm(dim=0), torch.ones(100))
    assert torch.equal(P, again)
    assert not torch.equal(P, other)
    assert torch.linalg.matrix_rank(P) == 100
    density = (P != 0).double().mean().item()
    assert density == pytest.approx(spaces[0].D ** -0.5, rel=0.1)


def test_theta_is_theta_0_plus_p_z():
    space = Subspace(mlp(5, 7, 3, seed=0), 4, seed=1)
    P = matrix(space)
    z = torch.tensor([1.0, -2, 3, 0.5])
    space.z.data.copy_(z)
    flat = torch.cat([p.flatten() for p in space.start.values()])
    now = torch.cat([p.flatten() for p in space.parameters_now().values()])
    torch.testing.assert_close(now, flat + P @ z)
    g = torch.arange(space.D, dtype=torch.float32)
    (space.offset() @ g).backward()
    torch.testing.assert_close(space.z.grad, P.T @ g)


def test_only_what_trains_is_moved():
    model = mlp(5, 7, 3, seed=0)
    model.fc1.requires_grad_(False)
    space = Subspace(model, 3, seed=0)
    assert list(space.start) == ["fc2.weight", "fc2.bias"]
    assert space.D == 24


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least 1, got 0 and 4"):
        Subspace(mlp(5, 7, 3, seed=0), 0, seed=0)
    with pytest.raises(ValueError, match="and 0"):
        Subspace(mlp(5, 7, 3, seed=0).requires_grad_(False), 3, seed=0)


@pytest.mark.parametrize(
    ("spectrum", "directions"),
    [([3.1, 1, 0], 1), ([2.9, 1, 0], 2), ([1.0] * 11, 10), ([0.0, 0, 0], 0)],
)
def test_r90_counts_directions(spectrum, directions):
    U, _ = torch.linalg.qr(
        torch.randn(20, len(spectrum), generator=torch.Generator().manual_seed(0))
    )
    assert intrinsic.r90(U * torch.tensor(spectrum)) == directions
