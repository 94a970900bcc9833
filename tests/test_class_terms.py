"""Both class terms against slow loops, and the focal one against torchvision's."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss

from detr_mini.class_terms import FocalTerm, SoftmaxTerm

L, B, N, K = 2, 3, 5, 4
# Matched queries (of all L * B * N) and the classes of their objects, two pairs in each layer.
QUERY, LABELS = torch.tensor([[1, 14], [15, 28]]), torch.tensor([[0, 3], [2, 2]])


def logits_of(classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return (2 * torch.randn(L, B, N, classes, generator=rng)).to(dtype).requires_grad_()


def wanted_classes() -> list[list[int | None]]:
    """For each layer the class of every query; None for a query that is not matched."""
    wanted: list[int | None] = [None] * (L * B * N)
    for query, label in zip(QUERY.flatten().tolist(), LABELS.flatten().tolist(), strict=True):
        wanted[query] = label
    return [wanted[: B * N], wanted[B * N :]]


def focal(logit: float, yes: bool, alpha: float, gamma: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return alpha * (1 - p) ** gamma * -math.log(p) if yes else (1 - alpha) * p**gamma * -math.log(1 - p)


def test_the_published_values_are_the_defaults() -> None:
    assert SoftmaxTerm().eos_coef == 0.1
    assert (FocalTerm().alpha, FocalTerm().gamma) == (0.25, 2)


def test_softmax_as_the_slow_loop() -> None:
    term, logits = SoftmaxTerm(eos_coef=0.3), logits_of(K + 1, torch.float64)
    scores = term.scores(logits)
    for layer, wanted in enumerate(wanted_classes()):
        p = logits[layer].flatten(0, 1).softmax(-1)
        loss = sum(-p[q, k].log() if k is not None else -0.3 * p[q, K].log() for q, k in enumerate(wanted))
        assert_close(term.loss(scores, QUERY, LABELS)[layer], loss)
    assert term.denominator(num_boxes=9, num_matched=2, num_queries=B * N) == pytest.approx(2 + 0.3 * 13)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.5), (0.5, 0.0)])
def test_focal_as_the_slow_loop(alpha: float, gamma: float) -> None:
    term, logits = FocalTerm(alpha, gamma), logits_of(K, torch.float64)
    ours = term.loss(term.scores(logits), QUERY, LABELS)
    for layer, wanted in enumerate(wanted_classes()):
        rows = logits[layer].flatten(0, 1).tolist()
        slow = sum(focal(x, wanted[q] == k, alpha, gamma) for q, row in enumerate(rows) for k, x in enumerate(row))
        assert ours[layer].item() == pytest.approx(slow, rel=1e-12)
    assert term.denominator(num_boxes=9, num_matched=2, num_queries=B * N) == 9


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_focal_as_torchvision_with_gradients(scale: float) -> None:
    term, logits = FocalTerm(), logits_of(K)
    one_hot = torch.zeros(L * B * N, K)
    one_hot[QUERY.flatten(), LABELS.flatten()] = 1
    theirs = sigmoid_focal_loss(scale * logits, one_hot.view(L, B, N, K), alpha=0.25, gamma=2).flatten(1).sum(1)
    ours = term.loss(term.scores(scale * logits), QUERY, LABELS)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradients = (torch.autograd.grad(value.sum(), logits)[0] for value in (ours, theirs))
    assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_focal_loss_stays_finite_where_half_precision_ends() -> None:
    logits = torch.full((1, 1, 1, K), 60_000.0).requires_grad_()
    loss = FocalTerm().loss(logits, torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0, dtype=torch.int64))
    loss.sum().backward()
    assert_close(loss, torch.tensor([0.75 * K * 60_000]))
    assert logits.grad.isfinite().all()


def test_focal_cost_as_published() -> None:
    labels = torch.tensor([[0, 3], [2, 2], [1, 0]])
    logits = logits_of(K).detach()
    logits[0, 1, 2, 2], logits[0, 1, 3, 2] = 50.0, -120.0  # sigmoids of 1 and 0: the logarithm of 0 needs the epsilon
    cost = FocalTerm().cost(logits, labels)
    assert cost.shape == (L, B, N, 2)
    for layer, image, query, column in torch.cartesian_prod(*map(torch.arange, cost.shape)).tolist():
        p = logits[layer, image, query, labels[image, column]].sigmoid().item()
        yes = 0.25 * (1 - p) ** 2 * -math.log(p + 1e-8)
        no = 0.75 * p**2 * -math.log(1 - p + 1e-8)
        assert cost[layer, image, query, column].item() == pytest.approx(yes - no, rel=1e-4, abs=1e-6)


def test_a_focal_cost_is_what_the_match_changes_in_the_loss() -> None:
    logits = logits_of(K, torch.float64)
    none = torch.zeros(1, 0, dtype=torch.int64)
    for query, label in ((3, 1), (14, 0)):
        pair = torch.tensor([[query]]), torch.tensor([[label]])
        change = FocalTerm().loss(logits[:1], *pair) - FocalTerm().loss(logits[:1], none, none)
        cost = FocalTerm().cost(logits[:1], torch.tensor([[label]] * B)).flatten()[query]
        assert_close(cost[None], change, rtol=1e-5, atol=1e-6)


def test_softmax_sees_an_object_where_no_object_is_not_the_most_probable() -> None:
    logits = torch.tensor([[[[0.0, 2, 1], [0, 1, 2], [3, 2, 1]]]])
    classes, sees_object = SoftmaxTerm().predicted(SoftmaxTerm().scores(logits))
    assert classes[0, 0].tolist() == [1, 2, 0]
    assert sees_object[0, 0].tolist() == [True, False, True]


def test_focal_sees_an_object_where_a_class_has_more_than_half() -> None:
    logits = torch.tensor([[[[-0.1, -2, -1], [0.1, -9, 0.2], [-9, -9, 0.1]]]])
    classes, sees_object = FocalTerm().predicted(logits)
    assert classes[0, 0].tolist() == [0, 2, 2]
    assert sees_object[0, 0].tolist() == [False, True, True]
