"""SwAV: Sinkhorn against the textbook's iteration, the loss, prototypes and the queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from objective_cases import arrays, random_pair, softmax, unit_rows
from torch import Tensor

from nesy_gedi.objectives import Swav
from nesy_gedi.objectives.swav import sinkhorn, swapped_prediction


def reference_sinkhorn(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Sinkhorn and Knopp on the matrix itself: clusters to mass 1/c, rows to mass 1/n, times n."""
    q = np.exp(scores / epsilon)
    n, c = q.shape
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(0, keepdims=True) * c
        q /= q.sum(1, keepdims=True) * n
    return q * n


def reference(z1: np.ndarray, z2: np.ndarray, prototypes: np.ndarray, past: list[np.ndarray] | None = None) -> float:
    prototypes = unit_rows(prototypes)
    scores = [unit_rows(z) @ prototypes.T for z in (z1, z2)]
    seen = scores
    if past is not None:
        seen = [np.concatenate([s, unit_rows(p) @ prototypes.T]) for s, p in zip(scores, past, strict=True)]
    q = [reference_sinkhorn(s, 0.05, 3)[: len(z1)] for s in seen]
    log_p = [np.log(softmax(s / 0.1)) for s in scores]
    return -((q[0] * log_p[1]).sum(1).mean() + (q[1] * log_p[0]).sum(1).mean()) / 2


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_reference(seed: int) -> None:
    torch.manual_seed(seed)
    objective = Swav(6, 5)
    pair = random_pair(12, 6)
    expected = reference(*arrays(pair), objective.prototypes.detach().double().numpy())
    assert objective(projection=pair).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("iterations", [1, 3, 50])
def test_sinkhorn_agrees_with_the_textbook(iterations: int) -> None:
    scores = torch.rand(12, 5, dtype=torch.float64)
    found = sinkhorn(scores, 0.05, iterations).numpy()
    np.testing.assert_allclose(found, reference_sinkhorn(scores.numpy(), 0.05, iterations), rtol=1e-9)


def test_sinkhorn_rows_sum_to_one_and_columns_become_balanced() -> None:
    q = sinkhorn(torch.rand(12, 4, dtype=torch.float64), 0.1, 500)
    torch.testing.assert_close(q.sum(1), torch.ones(12, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.full((4,), 3.0, dtype=torch.float64))


def test_sinkhorn_survives_scores_whose_exponential_does_not() -> None:
    scores = torch.tensor([[1e4, 0.0], [0.0, 1e4], [1e4, 0.0], [0.0, 1e4]], dtype=torch.bfloat16)
    found = sinkhorn(scores, 0.05, 3)
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]


def test_the_gradient_of_the_loss_for_a_fixed_assignment_is_that_of_finite_differences() -> None:
    q = torch.softmax(torch.randn(6, 4, dtype=torch.float64), 1)
    scores = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: swapped_prediction(q, s, 0.1), [scores])


def test_no_gradient_goes_through_the_assignment() -> None:
    objective = Swav(4, 3)
    first, second = (view.requires_grad_(True) for view in random_pair(8, 4))
    objective(projection=(first, second)).backward()
    prototypes = objective.prototypes.detach().double()
    scores = torch.from_numpy(unit_rows(second.detach().numpy())) @ torch.from_numpy(unit_rows(prototypes.numpy())).T
    q = torch.from_numpy(reference_sinkhorn(scores.numpy(), 0.05, 3))
    alone = first.detach().clone().requires_grad_(True)
    own = alone / alone.norm(dim=1, keepdim=True) @ (prototypes / prototypes.norm(dim=1, keepdim=True)).T
    (-(q * (own / 0.1).log_softmax(1)).sum(1).mean() / 2).backward()
    torch.testing.assert_close(first.grad, alone.grad, rtol=1e-6, atol=1e-9)


def test_the_optimum_with_one_image_to_each_of_orthonormal_prototypes() -> None:
    c = 5
    objective = Swav(c, c)
    objective.prototypes.data.copy_(torch.eye(c))
    z = 3.0 * torch.eye(c, dtype=torch.float64)
    q = math.exp(20) / (math.exp(20) + c - 1)
    expected = math.log(math.exp(10) + c - 1) - 10 * q
    assert objective(projection=(z, z)).item() == pytest.approx(expected, rel=1e-6)


def test_a_constant_output_costs_at_least_log_c() -> None:
    objective = Swav(4, 6)
    for row in torch.randn(10, 4, dtype=torch.float64):
        constant = row.repeat(8, 1)
        assert objective(projection=(constant, constant)).item() >= math.log(6)


def test_prototypes_learn_and_only_their_directions_count() -> None:
    objective = Swav(4, 3)
    pair = random_pair(8, 4)
    loss = objective(projection=pair)
    loss.backward()
    assert float(objective.prototypes.grad.abs().max()) > 0
    objective.prototypes.data.mul_(torch.tensor([[0.1], [2.0], [30.0]]))
    torch.testing.assert_close(objective(projection=pair), loss, rtol=1e-6, atol=1e-9)


def test_renaming_prototypes_renames_probabilities_and_leaves_the_loss() -> None:
    objective = Swav(4, 5)
    pair = random_pair(8, 4)
    loss, p = objective(projection=pair), objective.log_probabilities(pair[0])
    order = torch.randperm(5)
    objective.prototypes.data = objective.prototypes.data[order]
    torch.testing.assert_close(objective(projection=pair), loss)
    torch.testing.assert_close(objective.log_probabilities(pair[0]), p[:, order])


def test_the_queue_joins_the_assignment_once_it_is_full() -> None:
    objective = Swav(4, 3, queue=6).double()
    prototypes = objective.prototypes.detach().numpy()
    batches = [random_pair(4, 4) for _ in range(4)]
    found = [objective(projection=pair).item() for pair in batches]

    def past(*newest_first: int) -> list[np.ndarray]:
        return [np.concatenate([batches[k][v].numpy() for k in newest_first])[:6] for v in (0, 1)]

    expected = [
        reference(*arrays(batches[0]), prototypes),
        reference(*arrays(batches[1]), prototypes),
        reference(*arrays(batches[2]), prototypes, past(1, 0)),
        reference(*arrays(batches[3]), prototypes, past(2, 1)),
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_batch_larger_than_the_queue_leaves_its_first_rows() -> None:
    objective = Swav(4, 3, queue=3).double()
    pair = random_pair(8, 4)
    objective(projection=pair)
    expected = np.stack([unit_rows(view.numpy())[:3] for view in pair])
    np.testing.assert_allclose(objective.queue.numpy(), expected)


def test_log_probabilities_are_those_of_the_cosines() -> None:
    objective = Swav(4, 3, temperature=0.2)
    z: Tensor = torch.randn(5, 4, dtype=torch.float64)
    scores = unit_rows(z.numpy()) @ unit_rows(objective.prototypes.detach().double().numpy()).T
    np.testing.assert_allclose(objective.log_probabilities(z).exp().detach(), softmax(scores / 0.2), rtol=1e-9)
