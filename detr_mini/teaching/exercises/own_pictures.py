"""Exercises of the chapter *Your own pictures*."""

import math

import torch
from torch import Tensor

from detr_mini.teaching.exercises import draw, exercise


def _numbers() -> list[tuple[int, int, int]]:
    whole = torch.randint(3, 15, (4,), generator=draw(20))
    images = (8 * whole + torch.randint(1, 8, (4,), generator=draw(21))).tolist()  # the last batch is smaller
    steps = torch.randint(200, 999, (4,), generator=draw(200)).tolist()
    return [(17, 4, 10), *((n, 8, wanted) for n, wanted in zip(images, steps, strict=True))]


@exercise(
    cases=_numbers,
    mistakes={
        "The last batch of an epoch may be smaller than the others, but it is a step: round up.": (
            lambda images, batch, steps: math.ceil(steps / (images // batch))
        ),
        "These are too few steps: round the epochs up as well.": (
            lambda images, batch, steps: steps // math.ceil(images / batch)
        ),
        "This is how often all pictures are seen if no batch is cut short: steps of an epoch are whole.": (
            lambda images, batch, steps: math.ceil(steps * batch / images)
        ),
        "These are the steps of an epoch. How many epochs have the steps that are wanted?": (
            lambda images, batch, steps: math.ceil(images / batch)
        ),
    },
)
def epochs_for(images: int, batch: int, steps: int) -> int:
    """The fewest whole epochs that have so many steps or more."""
    per_epoch = math.ceil(images / batch)
    return math.ceil(steps / per_epoch)


def _rows() -> list[tuple[Tensor, int, int]]:
    rows = torch.tensor([[2, 0.5, 0.5, 0.25, 0.5], [0, 0.1, 0.8, 0.2, 0.1], [5, 0.75, 0.25, 0.5, 0.5]])
    drawn = 0.3 + 0.3 * torch.rand(4, 5, generator=draw(1))
    return [(rows, 320, 240), (drawn[:1], 240, 320), (drawn, 640, 480)]


def _scaled(rows: Tensor, width: int, height: int, half: float = 0.5) -> Tensor:
    center, size = rows[:, 1:3], rows[:, 3:]
    return torch.cat([center - half * size, size], 1) * torch.tensor([width, height] * 2)


@exercise(
    cases=_rows,
    mistakes={
        "The first two numbers are the center: COCO's box begins at the corner, half a side further up and left.": (
            lambda rows, width, height: _scaled(rows, width, height, 0.0)
        ),
        "Width and height of the picture are exchanged: x goes with the width.": (
            lambda rows, width, height: _scaled(rows, height, width)
        ),
        "These are still shares of the picture: COCO's boxes are pixels.": (
            lambda rows, width, height: _scaled(rows, 1, 1)
        ),
        "These are two corners: COCO's box is a corner, a width and a height.": (
            lambda rows, width, height: (
                _scaled(rows, width, height)
                + torch.tensor([0, 0, 1, 1]) * _scaled(rows, width, height)[:, [0, 1, 0, 1]]
            )
        ),
    },
)
def from_yolo(rows: Tensor, width: int, height: int) -> Tensor:
    """YOLO's rows of class and box (T, 5), in shares of a picture, as COCO's boxes (T, 4) in pixels."""
    center, size = rows[:, 1:3], rows[:, 3:]
    corner = center - size / 2
    return torch.cat([corner, size], 1) * torch.tensor([width, height, width, height])


def _names() -> list[tuple[list[str]]]:
    numbers = sorted(torch.randperm(99, generator=draw(6))[:12].tolist())
    copies = [f"harbor-{n:02}_jpg.rf.{copy}.jpg" for n in numbers for copy in ("3f6", "a01", "c7e")]
    few = [f"{name}_png.rf.{copy}.jpg" for name in "ebdac" for copy in ("9", "1")]
    drawn = [f"{n:03}_jpg.rf.{c}.jpg" for n in torch.randperm(999, generator=draw(2))[:15].tolist() for c in "ab"]
    return [(copies,), (few,), (drawn,)]


def _every_fifth(names: list[str], key: str) -> tuple[list[str], list[str]]:
    kept = sorted({name.split(key)[0] for name in names})[4::5]
    train = [name for name in names if name.split(key)[0] not in kept]
    return train, [name for name in names if name.split(key)[0] in kept]


@exercise(
    cases=_names,
    mistakes={
        "Copies of one photograph are on both sides: val is too easy. Split by what comes before .rf.": (
            lambda names: _every_fifth(names, "\n")
        ),
        "The two are exchanged: train comes first, and has the larger part.": (
            lambda names: _every_fifth(names, ".rf.")[::-1]
        ),
        "Each fifth is meant, so the one at place 4, 9 and so on, not at 0.": (
            lambda names: (
                [n for n in names if n.split(".rf.")[0] not in sorted({m.split(".rf.")[0] for m in names})[::5]],
                [n for n in names if n.split(".rf.")[0] in sorted({m.split(".rf.")[0] for m in names})[::5]],
            )
        ),
    },
)
def split_names(names: list[str]) -> tuple[list[str], list[str]]:
    """Names for training and for validation: each fifth photograph, in sorted order, with all of its copies."""
    photographs = sorted({name.split(".rf.")[0] for name in names})
    kept = set(photographs[4::5])
    train = [name for name in names if name.split(".rf.")[0] not in kept]
    val = [name for name in names if name.split(".rf.")[0] in kept]
    return train, val


def _detections() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    overlap = torch.tensor([[0.8, 0.0], [0.7, 0.1], [0.0, 0.9], [0.4, 0.6], [0.1, 0.8]])
    found, scores = torch.tensor([2, 1, 3, 3, 1]), 0.2 + 0.7 * torch.rand(2, 5, generator=draw(7))
    empty = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    drawn = torch.rand(8, 3, generator=draw(3)), torch.randint(1, 4, (8,), generator=draw(4))
    return [
        (*drawn, torch.rand(8, generator=draw(5)), torch.tensor([1, 2, 3])),
        (overlap, found, scores[0], torch.tensor([1, 3])),
        (overlap, found, scores[1], torch.tensor([3, 2])),
        (*empty, torch.tensor([1, 3])),
    ]


def _wrong_class(
    ious: Tensor, found: Tensor, score: Tensor, labels: Tensor, least: float = 0.5, own: bool = True, other: bool = True
) -> Tensor:
    there = ious >= least
    same = found[:, None] == labels
    zero = torch.zeros(1, len(labels))
    against = torch.cat([zero, score[:, None] * (there & (~same if other else same | ~same))]).amax(0)
    known = torch.cat([zero, score[:, None] * (there & same)]).amax(0)
    return against * (1 - known) if own else against


@exercise(
    cases=_detections,
    mistakes={
        "A detection of the annotated class speaks for the annotation: multiply with 1 less its score.": (
            lambda ious, found, score, labels: _wrong_class(ious, found, score, labels, own=False)
        ),
        "Only a detection of another class speaks against the annotated one.": (
            lambda ious, found, score, labels: _wrong_class(ious, found, score, labels, other=False)
        ),
        "A detection that overlaps the box by less than 0.5 is about something else.": (
            lambda ious, found, score, labels: _wrong_class(ious, found, score, labels, least=0.0)
        ),
    },
)
def wrong_class(ious: Tensor, found: Tensor, score: Tensor, labels: Tensor) -> Tensor:
    """How sure a model is that each annotated class is wrong, (T,).

    IoUs of detections and annotated boxes (D, T), class (D,) and score (D,) of the detections, annotated classes (T,).
    """
    there = ious >= 0.5
    same = found[:, None] == labels  # (D, T)
    zero = torch.zeros(1, len(labels))
    against = torch.cat([zero, score[:, None] * (there & ~same)]).amax(0)
    known = torch.cat([zero, score[:, None] * (there & same)]).amax(0)
    return against * (1 - known)
