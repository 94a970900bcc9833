"""Exercises of the chapter *What queries learn*."""

import torch
from torch import Tensor
from torchvision.ops import box_iou

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.teaching.exercises import draw, exercise


def _sizes() -> list[tuple[Tensor]]:
    """Boxes with areas well inside each kind, and on both limits (eighths are exact)."""
    sizes = [(0.1, 0.2), (0.2, 0.2), (0.9, 0.1), (0.1, 0.9), (0.3, 0.3), (0.5, 0.12), (0.12, 0.25), (0.05, 0.9)]
    boxes = torch.tensor([[0.5, 0.4, width, height] for width, height in sizes])
    limits = torch.tensor([[0.5, 0.5, 0.48, 0.125], [0.5, 0.5, 0.125, 0.24]])
    return [(torch.cat([boxes, limits]),), (boxes[:3],)]


def _kinds(boxes: Tensor, *, small: float = 0.03, large: float = 0.06, swap: bool = False) -> Tensor:
    width, height = boxes[:, 2], boxes[:, 3]
    area = width * height
    found = torch.zeros(len(boxes), dtype=torch.int64)
    found[area >= large] = torch.where(width < height, 1 if swap else 2, 2 if swap else 1)[area >= large]
    found[area < small] = 3
    return found


@exercise(
    cases=_sizes,
    mistakes={
        "Wide and tall are swapped: 1 is for boxes with width >= height.": lambda b: _kinds(b, swap=True),
        "This compares the width alone with the limits. They are meant for the area, width times height.": (
            lambda b: _kinds(torch.stack([b[:, 0], b[:, 1], b[:, 2], torch.ones(len(b))], 1))
        ),
        "This takes the first two numbers for the size. In cxcywh they are the center; the size is the last two.": (
            lambda b: _kinds(b.roll(2, dims=1))
        ),
        "Large boxes are told apart, but small and medium ones are not: below 0.03 the kind is 3.": (
            lambda b: _kinds(b, small=0.0)
        ),
        "These are the limits as percentages: 0.03 of the picture is 3 %, and the area is a share from 0 to 1.": (
            lambda b: _kinds(b, small=3, large=6)
        ),
    },
)
def kinds(boxes: Tensor) -> Tensor:
    """What each box (M, 4) counts as, (M,): 0 medium, 1 large and wide, 2 large and tall, 3 small."""
    width, height = boxes[:, 2], boxes[:, 3]
    area = width * height
    found = torch.zeros(len(boxes), dtype=torch.int64)  # medium
    found[(area >= 0.06) & (width >= height)] = 1
    found[(area >= 0.06) & (width < height)] = 2
    found[area < 0.03] = 3
    return found


def _reports() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    true = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.4, 0.3], [0.2, 0.8, 0.1, 0.1]])
    labels = torch.tensor([1, 3, 1])
    boxes = torch.cat([true, true + 0.01, true])  # queries 0-2, 3-5, 6-8
    sure = torch.tensor([0.9, 0.9, 0.6, 0.7, 0.4, 0.2, 0.9, 0.8, 0.9])
    said = torch.tensor([1, 3, 1, 1, 3, 1, 3, 3, 3])  # queries 6 and 8 have an object's place and another class
    p = ((1 - sure) / 5)[:, None].repeat(1, 5)
    p[torch.arange(9), said] = sure + (1 - sure) / 5
    third = (p[[2, 2, 5]], boxes[[2, 2, 2]], labels[2:], true[2:])
    silent = (p[[5, 5]], boxes[[2, 2]], labels[2:], true[2:])
    return [(p, boxes, labels, true), third, silent, (p[:3], boxes[:3], labels, true)]


def _duplicates(
    p: Tensor,
    boxes: Tensor,
    labels: Tensor,
    true: Tensor,
    *,
    score: float = 0.5,
    convert: bool = True,
    any_class: bool = False,
    least: int = 2,
) -> int:
    corners = (box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(true)) if convert else (boxes, true)
    right = (p[:, :-1].amax(-1, keepdim=True) if any_class else p[:, labels]) > score
    return int(((right & (box_iou(*corners) > 0.5)).sum(0) >= least).sum())


@exercise(
    cases=_reports,
    mistakes={
        "This counts every object that is reported at all. A duplicate needs two queries.": (
            lambda p, b, labels, true: _duplicates(p, b, labels, true, least=1)
        ),
        "This takes a sure query of any class. It has to be sure of the object's class: p[:, labels].": (
            lambda p, b, labels, true: _duplicates(p, b, labels, true, any_class=True)
        ),
        "The score is left out: a query that sees nothing has a box, too, but reports nothing.": (
            lambda p, b, labels, true: _duplicates(p, b, labels, true, score=-1)
        ),
        "These boxes went into box_iou as cxcywh. It takes xyxy.": (
            lambda p, b, labels, true: _duplicates(p, b, labels, true, convert=False)
        ),
    },
)
def duplicates(p: Tensor, boxes: Tensor, labels: Tensor, true: Tensor) -> int:
    """How many objects (T,) are reported by two queries or more, given p (N, K + 1) and boxes (N, 4) cxcywh."""
    overlap = box_iou(box_cxcywh_to_xyxy(boxes), box_cxcywh_to_xyxy(true))  # (N, T)
    reports = (p[:, labels] > 0.5) & (overlap > 0.5)  # (N, T)
    return int((reports.sum(0) >= 2).sum())


def _clouds() -> list[tuple[Tensor, Tensor, int]]:
    generator = draw(8)
    points = torch.rand(60, 2, generator=generator) * torch.tensor([1.0, 0.5])
    slots = torch.rand(4, 2, generator=generator)
    with_idle = torch.cat([slots[:3], torch.tensor([[9.0, 9.0]])])
    return [(points, slots, 3), (points, with_idle, 2), (points[:20], slots[:2], 1)]


def _lloyd(points: Tensor, slots: Tensor, rounds: int, *, idle: bool = True, far: bool = False, p: float = 2) -> Tensor:
    slots = slots.clone()
    for _ in range(rounds):
        distance = torch.cdist(points, slots, p=p)
        owner = distance.argmax(1) if far else distance.argmin(1)
        for n in range(len(slots)):
            if (owner == n).any() or not idle:
                slots[n] = points[owner == n].mean(0)
    return slots


@exercise(
    cases=_clouds,
    mistakes={
        "A slot without points has no mean (0 / 0 is NaN). It is to stay where it is.": (
            lambda points, slots, rounds: _lloyd(points, slots, rounds, idle=False)
        ),
        "This is one round. Repeat finding and moving as often as asked.": (
            lambda points, slots, rounds: _lloyd(points, slots, 1)
        ),
        "Nothing has moved yet: these are the slots to begin with.": lambda points, slots, rounds: slots,
        "The points go to the slot that is farthest away. The nearest has the least distance.": (
            lambda points, slots, rounds: _lloyd(points, slots, rounds, far=True)
        ),
        "This measures distance as |x| + |y|. The straight distance is asked for, cdist's default.": (
            lambda points, slots, rounds: _lloyd(points, slots, rounds, p=1)
        ),
    },
)
def ideal_slots(points: Tensor, slots: Tensor, rounds: int) -> Tensor:
    """Lloyd's algorithm: points (M, 2) and slots (N, 2) to begin with, to slots (N, 2) after some rounds."""
    slots = slots.clone()
    for _ in range(rounds):
        owner = torch.cdist(points, slots).argmin(1)  # (M,)
        for n in range(len(slots)):
            if (owner == n).any():
                slots[n] = points[owner == n].mean(0)
    return slots
