"""Exercises of the chapter *Loss*."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.boxes import box_cxcywh_to_xyxy, generalized_box_iou
from detr_mini.matcher import HungarianMatcher
from detr_mini.teaching.exercises import draw, exercise


@exercise(
    cases=lambda: [(100, 7, 0.5), (25, 4, 0.57), (300, 7, 0.5), (40, 40 - 1, 0.2)],
    mistakes={
        "This counts all queries as left over; those that are matched are not.": (
            lambda queries, objects, share: share * objects / ((1 - share) * queries)
        ),
        "This is the share that no-object should have against the weight of the objects alone; it is wanted of the "
        "whole weight, so that half means as much as the objects have.": (
            lambda queries, objects, share: share * objects / (queries - objects)
        ),
        "Upside down: more queries that are left over call for a lower weight, not a higher one.": (
            lambda queries, objects, share: (1 - share) * (queries - objects) / (share * objects)
        ),
        "This is the share that comes out with a weight of `share`; the question goes the other way.": (
            lambda queries, objects, share: share * (queries - objects) / (objects + share * (queries - objects))
        ),
    },
)
def eos_for_share(queries: int, objects: int, share: float) -> float:
    """Weight of "no object" that gives it this share of the class loss's weight, with objects < queries."""
    left_over = queries - objects
    # share = eos * left_over / (objects + eos * left_over), solved for eos
    return share * objects / ((1 - share) * left_over)


def _predictions() -> list[tuple[Tensor, Tensor]]:
    generator = draw(3)
    logits = 2 * torch.randn(2, 30, 5, generator=generator)
    classes = torch.full((2, 30), 4)
    classes[:, :12] = torch.randint(4, (2, 12), generator=generator)
    classes[0, :4] = logits[0, :4, :4].argmax(-1)
    return [(logits, classes), (logits[:, 20:], classes[:, 20:])]


def _error_of(logits: Tensor, classes: Tensor, chosen: Tensor, best: Tensor) -> Tensor:
    right = (best == classes)[chosen].sum()
    return 100 - 100 * right / max(int(chosen.sum()), 1)


@exercise(
    cases=_predictions,
    mistakes={
        "This is measured over all queries. Only those that are matched count, where another class than no-object is "
        "wanted.": lambda logits, classes: _error_of(
            logits, classes, torch.ones_like(classes, dtype=torch.bool), logits.argmax(-1)
        ),
        "This is the share that is right: the error is what is missing to 100.": (
            lambda logits, classes: 100 - class_error(logits, classes)
        ),
        "No-object was left out before the best class was chosen. A matched query that says no object is wrong.": (
            lambda logits, classes: _error_of(
                logits, classes, classes != logits.shape[-1] - 1, logits[..., :-1].argmax(-1)
            )
        ),
        "This is a share; a percentage is wanted.": lambda logits, classes: class_error(logits, classes) / 100,
        "Right where there are objects. Without any, an error of 100 is wanted, not of 0.": (
            lambda logits, classes: class_error(logits, classes) * (classes != logits.shape[-1] - 1).any()
        ),
        "Right where there are objects. Without any, this divides by 0: an error of 100 is wanted then.": (
            lambda logits, classes: (
                100 - 100 * (logits.argmax(-1) == classes)[classes != logits.shape[-1] - 1].float().mean()
            )
        ),
    },
)
def class_error(logits: Tensor, classes: Tensor) -> Tensor:
    """Percentage of the matched queries whose best class is wrong, 100 where none is matched.

    Logits (B, N, K + 1) and the target classes (B, N), K for no object, to ().
    """
    matched = classes != logits.shape[-1] - 1  # (B, N)
    right = (logits.argmax(-1) == classes)[matched].sum()
    return 100 - 100 * right / max(int(matched.sum()), 1)


def _matched_boxes() -> list[tuple[Tensor, Tensor]]:
    generator = draw(1)
    boxes = torch.rand(2, 9, 4, generator=generator) * torch.tensor([0.6, 0.6, 0.3, 0.3]) + 0.1
    return [(boxes[0], boxes[1]), (boxes[0, :2], boxes[0, :2] + torch.tensor([0.05, 0.0, 0.0, 0.1]))]


def _giou(a: Tensor, b: Tensor, *, clamped: bool = True, around: bool = True, by_hull: bool = True) -> Tensor:
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = ((high - low).clamp(min=0) if clamped else high - low).prod(-1)
    joined = (a[:, 2:] - a[:, :2]).prod(-1) + (b[:, 2:] - b[:, :2]).prod(-1) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    empty = (hull - joined) / (hull if by_hull else joined)
    return shared / joined - (empty if around else 0)


def _giou_mistake(boxes: Tensor, targets: Tensor, **changes: bool) -> Tensor:
    return 1 - _giou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(targets), **changes)


@exercise(
    cases=_matched_boxes,
    mistakes={
        "These boxes were taken for xyxy. They are cxcywh: find the corners first.": lambda a, b: 1 - _giou(a, b),
        "This is the GIoU itself, which rises as boxes get better; a loss is 1 less the GIoU.": (
            lambda a, b: 1 - giou_loss(a, b)
        ),
        "This is the IoU loss: the empty share of the box around both is missing.": partial(
            _giou_mistake, around=False
        ),
        "Two boxes that do not overlap in x and in y get a shared area out of two negative sides: clamp both at 0.": (
            partial(_giou_mistake, clamped=False)
        ),
        "The empty area is divided by the union; it is a share of the box around both.": partial(
            _giou_mistake, by_hull=False
        ),
        "This is the mean over the pairs; here every pair's own loss is wanted, (M,).": (
            lambda a, b: giou_loss(a, b).mean()
        ),
    },
)
def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - GIoU of each pair of matched boxes: cxcywh, (M, 4) and (M, 4), to (M,)."""
    (low1, high1), (low2, high2) = (
        (some[:, :2] - some[:, 2:] / 2, some[:, :2] + some[:, 2:] / 2) for some in (boxes, targets)
    )
    shared = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).prod(-1)  # (M,)
    hull = (torch.maximum(high1, high2) - torch.minimum(low1, low2)).prod(-1)
    joined = boxes[:, 2:].prod(-1) + targets[:, 2:].prod(-1) - shared
    return 1 - (shared / joined - (hull - joined) / hull)


def _batches() -> list[tuple[dict[str, Any], list[dict[str, Tensor]], float]]:
    generator = draw(0)

    def boxes(*shape: int) -> Tensor:
        size = 0.1 + 0.3 * torch.rand(*shape, 2, generator=generator)
        return torch.cat([size / 2 + (1 - size) * torch.rand(*shape, 2, generator=generator), size], dim=-1)

    def batch(counts: list[int]) -> tuple[dict[str, Any], list[dict[str, Tensor]]]:
        layers = [
            {
                "pred_logits": 2 * torch.randn(len(counts), 6, 5, generator=generator),
                "pred_boxes": boxes(len(counts), 6),
            }
            for _ in range(3)
        ]
        targets = [{"labels": torch.randint(4, (t,), generator=generator), "boxes": boxes(t)} for t in counts]
        return {**layers[-1], "aux_outputs": layers[:-1]}, targets

    return [(*batch([4, 1]), 0.1), (*batch([2, 3]), 0.3), (*batch([0, 0]), 0.1)]


def _total(
    outputs: dict[str, Any],
    targets: list[dict[str, Tensor]],
    eos_coef: float,
    *,
    aux: bool = True,
    own_matching: bool = True,
    weights: tuple[float, float, float] = (1.0, 5.0, 2.0),
    weighted_mean: bool = True,
    by_queries: bool = False,
    at_least: int = 1,
    smooth: bool = False,
    in_pairs: bool = True,
    box_mean: bool = False,
) -> Tensor:
    """The solution, with a switch for each way to go wrong."""
    last = HungarianMatcher()(outputs, targets)
    total = torch.zeros(())
    for layer in [*(outputs["aux_outputs"] if aux else []), outputs]:
        logits, boxes = layer["pred_logits"], layer["pred_boxes"]
        pairs = HungarianMatcher()(layer, targets) if own_matching else last
        classes = torch.full(logits.shape[:2], logits.shape[-1] - 1)
        for image, (q, t) in enumerate(pairs):
            classes[image, q] = targets[image]["labels"][t if in_pairs else slice(len(t))]
        weight = torch.ones(logits.shape[-1])
        weight[-1] = eos_coef
        nll = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), weight, reduction="none").sum()
        ce = nll / (weight[classes].sum() if weighted_mean else classes.numel())
        matched = torch.cat([b[q] for b, (q, _) in zip(boxes, pairs, strict=True)])
        true = torch.cat([target["boxes"][t] for target, (_, t) in zip(targets, pairs, strict=True)])
        divisor = classes.numel() if by_queries else max(len(true), at_least)
        l1 = (F.smooth_l1_loss if smooth else F.l1_loss)(matched, true, reduction="sum") / divisor
        if box_mean:
            l1 = F.l1_loss(matched, true)
        giou = (1 - generalized_box_iou(box_cxcywh_to_xyxy(matched), box_cxcywh_to_xyxy(true))).sum() / divisor
        total = total + weights[0] * ce + weights[1] * l1 + weights[2] * giou
    return total


@exercise(
    cases=_batches,
    mistakes={
        "Only the last decoder layer is in it: the layers in aux_outputs pay the same three terms.": partial(
            _total, aux=False
        ),
        "Every layer is compared with the pairs of the last one. Each layer has a matching of its own.": partial(
            _total, own_matching=False
        ),
        "The three terms are added without their weights: 1, 5 and 2.": partial(_total, weights=(1.0, 1.0, 1.0)),
        "The weights of the box terms are swapped: L1 has 5, GIoU has 2.": partial(_total, weights=(1.0, 2.0, 5.0)),
        "The class term is divided by the number of queries; a weighted mean divides by the sum of the weights.": (
            partial(_total, weighted_mean=False)
        ),
        "The box terms are divided by the number of queries; it should be the number of objects.": partial(
            _total, by_queries=True
        ),
        "Right while there are objects. A batch without any divides by 0 and gives NaN: divide by 1 at least.": partial(
            _total, at_least=0
        ),
        "The labels came in the order of the objects. They have to be in the order of the pairs: index them with the "
        "second half of each pair.": partial(_total, in_pairs=False),
        "The L1 term is a mean over all numbers: NaN without objects, a quarter of what it should be with them. Add up "
        "the differences, and divide by the number of objects.": partial(_total, box_mean=True),
        "The box loss is smooth L1 here; DETR uses the plain absolute difference.": partial(_total, smooth=True),
    },
)
def detection_loss(outputs: dict[str, Any], targets: list[dict[str, Tensor]], eos_coef: float) -> Tensor:
    """The weighted sum of all terms of all decoder layers, (): what DETR is trained with."""
    objects = max(sum(len(target["labels"]) for target in targets), 1)
    total = torch.zeros(())
    for layer in [*outputs["aux_outputs"], outputs]:
        logits, boxes = layer["pred_logits"], layer["pred_boxes"]  # (B, N, K + 1), (B, N, 4)
        pairs = HungarianMatcher()(layer, targets)
        classes = torch.full(logits.shape[:2], logits.shape[-1] - 1)  # (B, N), no object
        for image, (q, t) in enumerate(pairs):
            classes[image, q] = targets[image]["labels"][t]
        weight = torch.ones(logits.shape[-1])
        weight[-1] = eos_coef
        ce = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), weight)
        matched = torch.cat([b[q] for b, (q, _) in zip(boxes, pairs, strict=True)])  # (M, 4)
        true = torch.cat([target["boxes"][t] for target, (_, t) in zip(targets, pairs, strict=True)])
        l1 = (matched - true).abs().sum() / objects
        giou = generalized_box_iou(box_cxcywh_to_xyxy(matched), box_cxcywh_to_xyxy(true))  # (M,)
        total = total + ce + 5 * l1 + 2 * (1 - giou).sum() / objects
    return total
