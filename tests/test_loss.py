"""The losses against a slow loop written from the paper: per layer, per image, per pair."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from detr_mini import HungarianMatcher, SetCriterion

CLASSES = 4
Scene = tuple[dict[str, Any], list[dict[str, Tensor]]]


def scene(n: int, counts: list[int], layers: int = 3, seed: int = 0) -> Scene:
    rng = torch.Generator().manual_seed(seed)

    def boxes(*shape: int) -> Tensor:
        return 0.1 + 0.8 * torch.rand(*shape, 4, generator=rng)

    made = [
        {
            "pred_logits": (2 * torch.randn(len(counts), n, CLASSES + 1, generator=rng)).requires_grad_(),
            "pred_boxes": boxes(len(counts), n).requires_grad_(),
        }
        for _ in range(layers)
    ]
    targets = [{"labels": torch.randint(CLASSES, (t,), generator=rng), "boxes": boxes(t)} for t in counts]
    return {**made[-1], "aux_outputs": made[:-1]}, targets


def criterion(**changes: Any) -> SetCriterion:
    return SetCriterion(CLASSES, HungarianMatcher(), **changes)


def slow_giou(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.unbind(), b.unbind()

    def span(p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Length that two intervals share, and length of the interval around both."""
        first, second = (p - q / 2, p + q / 2), (r - s / 2, r + s / 2)
        shared = (torch.min(first[1], second[1]) - torch.max(first[0], second[0])).clamp(min=0)
        return shared, torch.max(first[1], second[1]) - torch.min(first[0], second[0])

    (shared_x, around_x), (shared_y, around_y) = span(ax, aw, bx, bw), span(ay, ah, by, bh)
    shared, hull = shared_x * shared_y, around_x * around_y
    union = aw * ah + bw * bh - shared
    return shared / union - (hull - union) / hull


def slow_losses(outputs: dict[str, Any], targets: list[dict[str, Tensor]], eos_coef: float) -> dict[str, Tensor]:
    """Section 3.1 of the paper with the weights of A.4, in double precision, one pair at a time."""
    result: dict[str, Tensor] = {}
    boxes_in_batch = max(sum(len(t["labels"]) for t in targets), 1)
    numbered = [(f"_{i}", layer) for i, layer in enumerate(outputs["aux_outputs"])] + [("", outputs)]
    for suffix, layer in numbered:
        log_p = layer["pred_logits"].double().log_softmax(-1)
        nll, weight, l1, giou, cardinality = (torch.zeros((), dtype=torch.float64) for _ in range(5))
        right = matched = 0
        for image, (query, target) in enumerate(HungarianMatcher()(layer, targets)):
            answer = dict(zip(query.tolist(), target.tolist(), strict=True))
            seen = 0
            for q in range(log_p.shape[1]):
                best = log_p[image, q].argmax().item()
                seen += best != CLASSES
                if q not in answer:
                    nll, weight = nll - eos_coef * log_p[image, q, CLASSES], weight + eos_coef
                    continue
                label = targets[image]["labels"][answer[q]].item()
                goal, box = targets[image]["boxes"][answer[q]].double(), layer["pred_boxes"][image, q].double()
                nll, weight = nll - log_p[image, q, int(label)], weight + 1
                l1 = l1 + sum((x - y).abs() for x, y in zip(box, goal, strict=True))
                giou = giou + 1 - slow_giou(box, goal)
                matched, right = matched + 1, right + (best == label)
            cardinality = cardinality + abs(seen - len(targets[image]["labels"])) / len(targets)
        result[f"loss_ce{suffix}"] = nll / weight
        result[f"loss_bbox{suffix}"] = l1 / boxes_in_batch
        result[f"loss_giou{suffix}"] = giou / boxes_in_batch
        result[f"cardinality_error{suffix}"] = cardinality
    result["class_error"] = torch.tensor(100 - 100 * right / max(matched, 1), dtype=torch.float64)
    return result


def check(outputs: dict[str, Any], targets: list[dict[str, Tensor]], eos_coef: float = 0.1) -> None:
    ours, slow = criterion(eos_coef=eos_coef)(outputs, targets), slow_losses(outputs, targets, eos_coef)
    assert ours.keys() == slow.keys()
    assert_close({name: value.double() for name, value in ours.items()}, slow, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 6),
    counts=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    layers=st.integers(1, 3),
    eos_coef=st.sampled_from([0.1, 0.5, 1.0]),
    seed=st.integers(0, 100_000),
)
def test_as_the_slow_loop(n: int, counts: list[int], layers: int, eos_coef: float, seed: int) -> None:
    check(*scene(n, counts, layers, seed), eos_coef)


@pytest.mark.parametrize("counts", [[3, 2], [0, 3], [0, 0], [9, 1], [9, 0, 12]])
def test_as_the_slow_loop_with_empty_and_crowded_images(counts: list[int]) -> None:
    check(*scene(6, counts))


def test_gradients_as_the_slow_loop() -> None:
    outputs, targets = scene(6, [3, 0, 8])
    layers = [*outputs["aux_outputs"], outputs]
    leaves = [layer[name] for layer in layers for name in ("pred_logits", "pred_boxes")]
    weights = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}
    total = criterion().total(criterion()(outputs, targets))
    slow = slow_losses(outputs, targets, 0.1)
    slow_total = torch.zeros((), dtype=torch.float64)
    for name, value in slow.items():
        slow_total = slow_total + weights.get(name.rstrip("_01"), 0.0) * value
    assert_close(total.double(), slow_total, rtol=1e-5, atol=1e-5)
    ours, wanted = torch.autograd.grad(total, leaves), torch.autograd.grad(slow_total, leaves)
    assert_close(ours, wanted, rtol=1e-4, atol=1e-6)
    assert all(grad.abs().sum() > 0 for grad in ours)


def test_perfect_predictions() -> None:
    _, targets = scene(5, [3, 0])
    logits = torch.full((2, 5, CLASSES + 1), -50.0)
    boxes = torch.rand(2, 5, 4)
    logits[..., -1] = 50
    for query, label in enumerate(targets[0]["labels"]):
        logits[0, 4 - query] = -50
        logits[0, 4 - query, label] = 50
        boxes[0, 4 - query] = targets[0]["boxes"][query]
    losses = criterion()({"pred_logits": logits, "pred_boxes": boxes}, targets)
    assert losses.keys() == {"loss_ce", "loss_bbox", "loss_giou", "class_error", "cardinality_error"}
    for name, value in losses.items():
        assert value.abs() < 1e-5, name


def test_weights_of_a_batch_that_sees_nothing() -> None:
    """Two objects, three queries left over: equal logits cost log 5 whatever the weights; a sure "nothing" does not."""
    _, targets = scene(5, [2])
    outputs = {"pred_logits": torch.zeros(1, 5, CLASSES + 1), "pred_boxes": torch.rand(1, 5, 4) + 0.1}
    assert_close(criterion()(outputs, targets)["loss_ce"], torch.tensor(5.0).log())
    outputs["pred_logits"][..., -1] = 20.0
    assert_close(criterion()(outputs, targets)["loss_ce"], torch.tensor(20 * 2 / (2 + 0.3)), rtol=1e-4, atol=1e-4)


def test_images_without_objects() -> None:
    outputs, targets = scene(5, [0, 0])
    losses = criterion()(outputs, targets)
    assert losses["class_error"] == 100
    for suffix in ("", "_0", "_1"):
        assert losses[f"loss_bbox{suffix}"] == 0
        assert losses[f"loss_giou{suffix}"] == 0
        assert losses[f"loss_ce{suffix}"] > 0
    criterion().total(losses).backward()
    assert outputs["pred_logits"].grad.isfinite().all()


def test_class_error_is_a_percentage_of_the_matched() -> None:
    _, targets = scene(4, [4])
    logits = torch.full((1, 4, CLASSES + 1), -9.0)
    for query, label in enumerate(targets[0]["labels"]):
        logits[0, query, label if query else (label + 1) % CLASSES] = 9  # the first one is wrong
    outputs = {"pred_logits": logits, "pred_boxes": targets[0]["boxes"][None]}
    assert criterion()(outputs, targets)["class_error"] == 25


def test_names_of_the_layers() -> None:
    losses = criterion()(*scene(4, [2], layers=6))
    per_layer = {f"{t}_{i}" for t in ("loss_ce", "loss_bbox", "loss_giou", "cardinality_error") for i in range(5)}
    last = {"loss_ce", "loss_bbox", "loss_giou", "cardinality_error", "class_error"}
    assert losses.keys() == per_layer | last


def test_total_weighs_every_layer_alike() -> None:
    names = ("loss_ce", "loss_bbox", "loss_giou")
    losses = {f"{name}{suffix}": torch.tensor(1.0) for name in names for suffix in ("", "_0", "_1", "_10")}
    logged = {"class_error": torch.tensor(77.0), "cardinality_error_0": torch.tensor(99.0)}
    assert criterion().total(losses | logged) == 4 * (1 + 5 + 2)
    mine = criterion(weight_dict={"loss_ce": 3.0, "loss_giou": 0.5})
    assert mine.total(losses | logged) == 4 * 3.5
    single = {"loss_ce": torch.tensor(1.0), "loss_bbox": torch.tensor(10.0), "loss_giou_3": torch.tensor(100.0)}
    assert criterion().total(single) == 1 + 50 + 200


@pytest.mark.parametrize(("label", "image"), [(CLASSES, 1), (-1, 0), (90, 1)])
def test_a_label_out_of_range_is_named(label: int, image: int) -> None:
    outputs, targets = scene(4, [2, 2])
    targets[image]["labels"][1] = label
    with pytest.raises(ValueError, match=f"image {image} of the batch has the label {label}.*0 to 3.*highest category"):
        criterion()(outputs, targets)


def test_not_a_number_is_named() -> None:
    outputs, targets = scene(4, [2, 2])
    with torch.no_grad():
        outputs["aux_outputs"][0]["pred_boxes"][1, 2] = float("nan")
    with pytest.raises(ValueError, match="image 1 of the batch"):
        criterion()(outputs, targets)


def test_half_precision_is_computed_in_float32() -> None:
    outputs, targets = scene(6, [3, 2])
    half = {
        "pred_logits": outputs["pred_logits"].detach().bfloat16(),
        "pred_boxes": outputs["pred_boxes"].detach().bfloat16(),
    }
    wide = {name: value.float() for name, value in half.items()}
    assert_close(criterion()(half, targets), criterion()(wide, targets))
    assert criterion()(half, targets)["loss_giou"].dtype == torch.float32


def test_the_weights_of_classes_are_not_in_checkpoints() -> None:
    assert not criterion().state_dict()


@pytest.mark.gpu
def test_on_a_gpu_as_on_the_cpu() -> None:
    outputs, targets = scene(20, [7, 0, 25])
    wanted = criterion()(outputs, targets)

    def move(layer: dict[str, Any]) -> dict[str, Any]:
        return {name: layer[name].detach().cuda().requires_grad_() for name in ("pred_logits", "pred_boxes")}

    there = {**move(outputs), "aux_outputs": [move(layer) for layer in outputs["aux_outputs"]]}
    ours = criterion().cuda()
    losses = ours(there, [{name: value.cuda() for name, value in target.items()} for target in targets])
    assert losses.keys() == wanted.keys()
    for name, value in losses.items():
        assert value.is_cuda
        assert_close(value.cpu(), wanted[name], rtol=1e-4, atol=1e-5)
    ours.total(losses).backward()
    assert there["pred_boxes"].grad.isfinite().all()
