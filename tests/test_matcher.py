"""Matching against brute force over all assignments."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchvision import ops

from detr_mini import HungarianMatcher
from detr_mini.class_terms import ClassTerm, FocalTerm, SoftmaxTerm
from detr_mini.matcher import _to_host

CLASSES = 4
seeds = st.integers(0, 100_000)
quick = settings(max_examples=30, deadline=None)
crowded = pytest.mark.filterwarnings("ignore:image . of the batch has .* objects")


def scene(n: int, counts: list[int], seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
    """Random outputs with ``n`` queries for as many images as ``counts`` has numbers of objects."""
    rng = torch.Generator().manual_seed(seed)

    def boxes(*shape: int) -> Tensor:
        size = 0.05 + 0.45 * torch.rand(*shape, 2, generator=rng)
        return torch.cat([size / 2 + (1 - size) * torch.rand(*shape, 2, generator=rng), size], dim=-1)

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


@crowded
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


@crowded
def test_a_class_term_can_be_exchanged() -> None:
    """With the class alone, each image is matched as brute force over the term's own cost would."""
    outputs, targets = scene(5, [3, 0, 6])
    outputs["pred_logits"] = outputs["pred_logits"][..., :CLASSES]
    matcher = HungarianMatcher(1, 0, 0, class_term=FocalTerm())
    labels = torch.stack([F.pad(target["labels"], (0, 6 - len(target["labels"]))) for target in targets])
    costs = FocalTerm().cost(outputs["pred_logits"][None], labels)[0]
    for image, (query, target) in enumerate(matcher(outputs, targets)):
        objects = len(targets[image]["labels"])
        table = costs[image, :, :objects].tolist()
        total = sum(table[q][t] for q, t in zip(query.tolist(), target.tolist(), strict=True))
        assert total == pytest.approx(least_cost(table, 5, objects), abs=1e-5)
    targets[2]["labels"][1] = CLASSES
    with pytest.raises(ValueError, match=f"image 2 of the batch has the label {CLASSES} .object 1.*0 to {CLASSES - 1}"):
        matcher(outputs, targets)


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


@crowded
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


@crowded
def test_all_layers_at_once_are_each_layer_alone() -> None:
    layers = [scene(6, [3, 0, 8], seed)[0] for seed in range(4)]
    targets = scene(6, [3, 0, 8], 9)[1]
    stacked = [torch.stack([layer[name] for layer in layers]) for name in ("pred_logits", "pred_boxes")]
    matches = HungarianMatcher().match_layers(stacked[0].log_softmax(-1), stacked[1], targets)
    for index in (matches.layer, matches.image, matches.query, matches.target):
        assert index.shape == (4, 3 + 0 + 6)
        assert index.dtype == np.int64
    assert (matches.layer == np.arange(4)[:, None]).all()
    assert (matches.image == [0, 0, 0, 2, 2, 2, 2, 2, 2]).all()
    for layer, query, target in zip(layers, matches.query, matches.target, strict=True):
        alone = [torch.cat(column) for column in zip(*HungarianMatcher()(layer, targets), strict=True)]
        assert torch.equal(torch.from_numpy(np.stack([query, target])), torch.stack(alone))
    assert not np.array_equal(matches.query[0], matches.query[1])


def test_what_goes_to_the_host_goes_together_and_comes_back_in_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    cpu = Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: copies.append(self.shape) or cpu(self))
    sent = torch.rand(2, 3, 4), torch.tensor([7, 2**24 - 1, -3]), torch.rand(0, 4), torch.rand(4, 2).T
    arrays = _to_host(*sent)
    assert copies == [(24 + 3 + 0 + 8,)]
    for array, tensor in zip(arrays, sent, strict=True):
        assert array.shape == tensor.shape
        assert (array == tensor.numpy()).all()
    assert _to_host(torch.zeros(1), torch.zeros(1, dtype=torch.float64))[0].dtype == np.float64


@pytest.mark.parametrize("class_term", [SoftmaxTerm(), FocalTerm()], ids=["softmax", "focal"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["pred_logits", "pred_boxes"])
@pytest.mark.parametrize("counts", [[2, 3], [2, 0], [0, 0]])
def test_predictions_that_are_not_finite_are_named(
    counts: list[int], name: str, value: float, class_term: ClassTerm
) -> None:
    outputs, targets = scene(5, counts)
    outputs[name][1, 4, 0] = value
    for target in targets:
        target["labels"][:] = 1  # a class whose own logit is fine
    message = r"image 1 of the batch.*query 4 in decoder layer 0 is (nan|inf).*targets are sound.*learning rate"
    with pytest.raises(ValueError, match=message):
        HungarianMatcher(class_term=class_term)(outputs, targets)


def test_the_layer_of_a_prediction_that_is_not_finite_is_named() -> None:
    outputs, targets = scene(5, [2, 3])
    logits, boxes = (outputs[name].repeat(3, 1, 1, 1) for name in ("pred_logits", "pred_boxes"))
    logits[2, 0, 3] = float("nan")
    with pytest.raises(ValueError, match=r"image 0 of the batch.*query 3 in decoder layer 2 is nan"):
        HungarianMatcher().match_layers(logits, boxes, targets)


def test_a_class_may_be_ruled_out() -> None:
    """A logit of minus infinity is a probability of 0."""
    outputs, targets = scene(5, [2])
    outputs["pred_logits"][..., 0] = float("-inf")
    assert len(HungarianMatcher()(outputs, targets)[0][0]) == 2


def test_half_precision_that_has_not_overflowed_is_fine() -> None:
    outputs, targets = scene(5, [2, 0])
    half = {name: value.half() for name, value in outputs.items()}
    half["pred_logits"] *= 5_000  # a sum of these is beyond float16
    assert half["pred_logits"].isfinite().all()
    assert [len(query) for query, _ in HungarianMatcher()(half, targets)] == [2, 0]


@pytest.mark.parametrize("label", [CLASSES, -1, 90, 10**6])
def test_a_label_out_of_range_is_named(label: int) -> None:
    outputs, targets = scene(4, [2, 0, 2])
    targets[2]["labels"][1] = label
    message = f"image 2 of the batch has the label {label} .object 1.*0 to 3.*highest category id . 1"
    with pytest.raises(ValueError, match=message):
        HungarianMatcher()(outputs, targets)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0.5, NAN, 0.2, 0.2], r"\[0.5, nan, 0.2, 0.2\].*must be finite"),
        ([0.5, 0.5, INF, 0.2], r"\[0.5, 0.5, inf, 0.2\].*must be finite"),
        ([320.0, 240.0, 64.0, 48.5], r"\[320.0, 240.0, 64.0, 48.5\].*pixels: divide by the width and height"),
        ([0.5, 0.5, 3e38, 3e38], "pixels"),
        ([0.6, 0.7, 0.9, 0.95], r"\[0.6, 0.7, 0.9, 0.95\].*like xyxy .convert it with box_xyxy_to_cxcywh"),
        ([0.02, 0.5, 0.1, 0.1], "reach out of the picture"),
        ([0.5, 0.98, 0.1, 0.1], "reach out of the picture"),
        ([-0.5, 0.5, 0.1, 0.1], "reach out of the picture"),
        ([0.5, 0.5, 0.1, -0.1], "negative size"),
    ],
)
def test_a_box_that_is_not_cxcywh_is_named(box: list[float], message: str) -> None:
    outputs, targets = scene(5, [2, 3])
    targets[1]["boxes"][2] = torch.tensor(box)
    with pytest.raises(ValueError, match=message) as error:
        HungarianMatcher()(outputs, targets)
    assert str(error.value).startswith("image 1 of the batch has the box [")
    assert "(object 2)" in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_boxes_may_touch_and_slightly_pass_the_border_and_be_empty(dtype: torch.dtype) -> None:
    outputs, targets = scene(5, [2, 4])
    edges = [[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 1.015, 1.0], [0.999, 0.25, 0.002, 0.5], [0.3, 0.3, 0.0, 0.0]]
    targets[1]["boxes"] = torch.tensor(edges)
    targets = [{"labels": t["labels"], "boxes": t["boxes"].to(dtype)} for t in targets]
    assert len(HungarianMatcher()(outputs, targets)[1][0]) == 4


def test_targets_of_a_wrong_shape_are_named() -> None:
    outputs, targets = scene(5, [2, 3])
    with pytest.raises(ValueError, match=r"^1 targets for a batch of 2 images"):
        HungarianMatcher()(outputs, targets[:1])
    for wrong in (
        {"labels": targets[1]["labels"][:2]},
        {"boxes": torch.zeros(3, 5)},
        {"boxes": torch.zeros(0)},
        {"labels": torch.zeros(3)},
        {"labels": targets[1]["labels"][:, None]},
        {"labels": torch.tensor([]), "boxes": torch.tensor([])},
    ):
        with pytest.raises(ValueError, match=r"^image 1 of the batch has labels of shape .* and boxes of shape .*T, 4"):
            HungarianMatcher()(outputs, [targets[0], targets[1] | wrong])


def test_more_objects_than_queries_is_a_warning() -> None:
    outputs, targets = scene(5, [2, 7])
    with pytest.warns(UserWarning, match="image 1 of the batch has 7 objects.*5 queries: 2 .*Raise num_queries"):
        matches = HungarianMatcher()(outputs, targets)
    assert [len(query) for query, _ in matches] == [2, 5]


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


@crowded
@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu() -> None:
    outputs, targets = scene(20, [7, 0, 25])
    wanted = HungarianMatcher()(outputs, targets)
    there = [{name: value.cuda() for name, value in target.items()} for target in targets]
    matches = HungarianMatcher()({name: value.cuda() for name, value in outputs.items()}, there)
    for ours, theirs in zip(matches, wanted, strict=True):
        assert not ours[0].is_cuda
        assert torch.equal(torch.stack(ours), torch.stack(theirs))
