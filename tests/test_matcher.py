"""Matching against brute force over all assignments."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision import ops

from detr_mini import HungarianMatcher

CLASSES = 4
seeds = st.integers(0, 100_000)
quick = settings(max_examples=30, deadline=None)


def scene(n: int, counts: list[int], seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """Random outputs with ``n`` queries for as many images as ``counts`` has numbers of objects."""
    rng = torch.Generator().manual_seed(seed)

    def boxes(*shape: int) -> Tensor:
        return 0.05 + 0.9 * torch.rand(*shape, 4, generator=rng)

    logits = 2 * torch.randn(len(counts), n, CLASSES + 1, generator=rng)
    targets = [{"labels": torch.randint(CLASSES, (t,), generator=rng), "boxes": boxes(t)} for t in counts]
    return {"pred_logits": logits, "pred_boxes": boxes(len(counts), n)}, targets


def pair_cost(logits: Tensor, box: Tensor, label: Tensor, goal: Tensor, weights: tuple[float, float, float]) -> float:
    """The paper's cost of one query and one object."""
    probability = logits.double().exp()[label] / logits.double().exp().sum()
    distance = sum(abs(a - b) for a, b in zip(box.tolist(), goal.tolist(), strict=True))
    corners = [ops.box_convert(b[None].double(), "cxcywh", "xyxy") for b in (box, goal)]
    giou = ops.generalized_box_iou(*corners).item()
    return -weights[0] * probability.item() + weights[1] * distance - weights[2] * giou


def cost_table(outputs: dict[str, Any], target: dict[str, Tensor], image: int, weights: Any) -> list[list[float]]:
    return [
        [pair_cost(logits, box, *t, weights) for t in zip(target["labels"], target["boxes"], strict=True)]
        for logits, box in zip(outputs["pred_logits"][image], outputs["pred_boxes"][image], strict=True)
    ]


def least_cost(table: list[list[float]], n: int, t: int) -> float:
    """The least total over every way to give min(n, t) objects a query of their own."""
    if t <= n:
        return min(sum(table[q][j] for j, q in enumerate(qs)) for qs in itertools.permutations(range(n), t))
    return min(sum(table[q][j] for q, j in enumerate(ts)) for ts in itertools.permutations(range(t), n))


@quick
@given(st.integers(1, 5), st.integers(1, 5), seeds)
def test_no_assignment_is_cheaper(n: int, t: int, seed: int) -> None:
    weights = (3.0, 1.5, 0.7)
    outputs, targets = scene(n, [t], seed)
    ((query, target),) = HungarianMatcher(*weights)(outputs, targets)
    table = cost_table(outputs, targets[0], 0, weights)
    assert len(set(query.tolist())) == len(set(target.tolist())) == len(query) == min(n, t)
    total = sum(table[q][j] for q, j in zip(query.tolist(), target.tolist(), strict=True))
    assert total == pytest.approx(least_cost(table, n, t), abs=1e-4)


@pytest.mark.parametrize("weights", [(1.0, 5.0, 2.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_costs_pair_by_pair(weights: tuple[float, float, float]) -> None:
    outputs, targets = scene(6, [4, 2])
    cost = HungarianMatcher(*weights).cost(outputs["pred_logits"][None], outputs["pred_boxes"][None], targets)[0]
    for image, target in enumerate(targets):
        wanted = torch.tensor(cost_table(outputs, target, image, weights))
        assert_close(cost[image, :, : len(target["labels"])], wanted, rtol=1e-4, atol=1e-5)


def test_the_defaults_are_the_published_weights() -> None:
    matcher = HungarianMatcher()
    assert (matcher.cost_class, matcher.cost_bbox, matcher.cost_giou) == (1, 5, 2)


def test_by_hand() -> None:
    logits = torch.zeros(1, 3, CLASSES + 1)
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]]])
    targets = [{"labels": torch.tensor([0, 1]), "boxes": boxes[0, [2, 1]] + 0.01}]
    ((query, target),) = HungarianMatcher()({"pred_logits": logits, "pred_boxes": boxes}, targets)
    assert query.tolist() == [1, 2]
    assert target.tolist() == [1, 0]
    logits[0, 0, 0] = 50.0  # a sure class outweighs the boxes only if its weight is large
    targets = [{"labels": torch.tensor([0]), "boxes": boxes[0, [1]]}]
    for weight, wanted in ((1.0, 1), (100.0, 0)):
        ((query, _),) = HungarianMatcher(cost_class=weight)({"pred_logits": logits, "pred_boxes": boxes}, targets)
        assert query.tolist() == [wanted]


@quick
@given(st.integers(1, 6), seeds)
def test_the_order_of_the_targets_does_not_matter(t: int, seed: int) -> None:
    outputs, targets = scene(8, [t], seed)
    order = torch.randperm(t, generator=torch.Generator().manual_seed(seed))
    shuffled = [{name: value[order] for name, value in targets[0].items()}]
    ((query, target),) = HungarianMatcher()(outputs, targets)
    ((query2, target2),) = HungarianMatcher()(outputs, shuffled)
    assert torch.equal(query, query2)
    assert torch.equal(target, order[target2])


@quick
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), seeds)
def test_images_of_a_batch_do_not_mix(counts: list[int], seed: int) -> None:
    outputs, targets = scene(6, counts, seed)
    together = HungarianMatcher()(outputs, targets)
    assert len(together) == len(counts)
    for i, (query, target) in enumerate(together):
        alone = {name: value[i : i + 1] for name, value in outputs.items()}
        ((query_alone, target_alone),) = HungarianMatcher()(alone, targets[i : i + 1])
        assert torch.equal(query, query_alone)
        assert torch.equal(target, target_alone)
        assert query.dtype == target.dtype == torch.int64
        assert len(query) == min(6, counts[i])
        assert query.tolist() == sorted(query.tolist())


def test_images_without_objects() -> None:
    outputs, targets = scene(5, [0, 2, 0])
    matches = HungarianMatcher()(outputs, targets)
    assert [len(query) for query, _ in matches] == [0, 2, 0]
    outputs, targets = scene(5, [0, 0])
    for query, target in HungarianMatcher()(outputs, targets):
        assert query.shape == target.shape == (0,)
        assert query.dtype == target.dtype == torch.int64


def test_all_layers_at_once_are_each_layer_alone() -> None:
    layers = [scene(6, [3, 0, 8], seed)[0] for seed in range(4)]
    targets = scene(6, [3, 0, 8], 9)[1]
    stacked = [torch.stack([layer[name] for layer in layers]) for name in ("pred_logits", "pred_boxes")]
    together = HungarianMatcher().match_layers(stacked[0], stacked[1], targets)
    assert len(together) == 4
    for layer, matches in zip(layers, together, strict=True):
        for ours, alone in zip(matches, HungarianMatcher()(layer, targets), strict=True):
            assert torch.equal(torch.stack(ours), torch.stack(alone))
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(together[0], together[1], strict=True))


@pytest.mark.parametrize("name", ["pred_logits", "pred_boxes"])
def test_what_is_not_finite_is_named(name: str) -> None:
    outputs, targets = scene(5, [2, 3])
    outputs[name][1, 4] = float("nan")
    with pytest.raises(ValueError, match=r"image 1 of the batch.*query 4 and target 0 is nan.*learning rate"):
        HungarianMatcher()(outputs, targets)


def test_a_target_that_is_not_finite_is_named() -> None:
    outputs, targets = scene(5, [2, 3])
    targets[0]["boxes"][1, 2] = float("inf")
    with pytest.raises(ValueError, match=r"image 0 of the batch.*query 0 and target 1"):
        HungarianMatcher()(outputs, targets)


def test_an_image_without_objects_may_hold_anything() -> None:
    outputs, targets = scene(5, [2, 0])
    outputs["pred_logits"][1] = float("nan")
    assert len(HungarianMatcher()(outputs, targets)[1][0]) == 0


def test_half_precision_is_matched_in_float32() -> None:
    outputs, targets = scene(6, [3])
    half = {name: value.bfloat16() for name, value in outputs.items()}
    wide = {name: value.float() for name, value in half.items()}
    for ours, wanted in zip(HungarianMatcher()(half, targets), HungarianMatcher()(wide, targets), strict=True):
        assert torch.equal(torch.stack(ours), torch.stack(wanted))
    costs = [
        HungarianMatcher().cost(out["pred_logits"][None], out["pred_boxes"][None], targets) for out in (half, wide)
    ]
    assert_close(*costs)


def test_matching_takes_no_part_in_the_gradient() -> None:
    outputs, targets = scene(5, [2])
    outputs["pred_boxes"].requires_grad_()
    ((query, target),) = HungarianMatcher()(outputs, targets)
    assert not query.requires_grad
    assert not target.requires_grad


def test_some_cost_is_needed() -> None:
    with pytest.raises(ValueError, match="all three costs are 0"):
        HungarianMatcher(0, 0, 0)


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu() -> None:
    outputs, targets = scene(20, [7, 0, 25])
    wanted = HungarianMatcher()(outputs, targets)
    there = [{name: value.cuda() for name, value in target.items()} for target in targets]
    matches = HungarianMatcher()({name: value.cuda() for name, value in outputs.items()}, there)
    for ours, theirs in zip(matches, wanted, strict=True):
        assert not ours[0].is_cuda
        assert torch.equal(torch.stack(ours), torch.stack(theirs))
