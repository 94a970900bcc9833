"""Exercises of the chapter *Deformable DETR*."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.teaching.exercises import exercise


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _references() -> list[tuple[Tensor, Tensor]]:
    points, frames = _random(5, 2).sigmoid(), _random(4, 4, seed=1).sigmoid()
    return [(points, _random(5, 4, seed=2)), (frames, _random(4, 4, seed=3))]


def _logit(x: Tensor) -> Tensor:
    return (x / (1 - x)).log()


def _four(known: Tensor) -> Tensor:
    return F.pad(known, (0, 4 - known.shape[-1]))


@exercise(
    cases=_references,
    mistakes={
        "The reference was added as it is. The change is in logits: take the reference's own logit first.": (
            lambda reference, change: (_four(reference) + change).sigmoid()
        ),
        "The sigmoid of the change was added to the reference: add first, then take one sigmoid of the sum.": (
            lambda reference, change: _four(reference) + change.sigmoid()
        ),
        "This is the sum of logits. A box is its sigmoid.": lambda reference, change: _four(_logit(reference)) + change,
        "These boxes forget their references: they are the changes alone.": lambda reference, change: change.sigmoid(),
        "The size of a reference that is a box was lost: its logits are added to all four numbers.": (
            lambda reference, change: (_four(_logit(reference)[:, :2]) + change).sigmoid()
        ),
    },
)
def next_boxes(reference: Tensor, change: Tensor) -> Tensor:
    """References, points (N, 2) or boxes (N, 4), and changes (N, 4), to boxes (N, 4)."""
    known = (reference / (1 - reference)).log()
    known = F.pad(known, (0, 4 - known.shape[-1]))
    return (known + change).sigmoid()


def _answers() -> list[tuple[Tensor, Tensor, Tensor]]:
    return [
        (_random(6, 4), torch.tensor([0, 3]), torch.tensor([2, 1])),
        (3 * _random(5, 3, seed=1), torch.tensor([4, 1, 2]), torch.tensor([0, 0, 2])),
    ]


def _focal(
    logits: Tensor,
    query: Tensor,
    label: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    by: str = "objects",
    others: bool = True,
) -> Tensor:
    yes = torch.zeros_like(logits)
    yes[query, label] = 1
    p = logits.sigmoid()
    right = p * yes + (1 - p) * (1 - yes)
    weight = alpha * yes + (1 - alpha) * (1 - yes)
    loss = -weight * (1 - right) ** gamma * right.log()
    if not others:
        loss = loss[query]
    return loss.mean() if by == "logits" else loss.sum() / (len(query) if by == "objects" else len(logits))


@exercise(
    cases=_answers,
    mistakes={
        "This is the mean over all logits: add them up, and divide by the number of objects.": (
            lambda logits, query, label: _focal(logits, query, label, by="logits")
        ),
        "This is divided by the number of queries: divide by the number of objects.": (
            lambda logits, query, label: _focal(logits, query, label, by="queries")
        ),
        "Queries without an object are left out. They say no to every class, and that counts.": (
            lambda logits, query, label: _focal(logits, query, label, others=False)
        ),
        "alpha and 1 - alpha are exchanged: 0.25 belongs to yes, 0.75 to no.": (
            lambda logits, query, label: _focal(logits, query, label, alpha=0.75)
        ),
        "This is the cross-entropy with weights: the factor (1 - p)^2 or p^2 is missing.": (
            lambda logits, query, label: _focal(logits, query, label, gamma=0.0)
        ),
        "This takes the probabilities from a softmax. Each logit has a sigmoid of its own.": (
            lambda logits, query, label: _focal(_logit(logits.softmax(-1)), query, label)
        ),
    },
)
def focal_loss(logits: Tensor, query: Tensor, label: Tensor) -> Tensor:
    """Of logits (N, K): query (T,) of them should say label (T,), and all else no. A number."""
    yes = torch.zeros_like(logits)
    yes[query, label] = 1
    p = logits.sigmoid()
    of_yes = -0.25 * (1 - p) ** 2 * F.logsigmoid(logits)
    of_no = -0.75 * p**2 * F.logsigmoid(-logits)
    return torch.where(yes > 0, of_yes, of_no).sum() / len(query)


def _predictions() -> list[tuple[Tensor, Tensor, int]]:
    logits = _random(4, 3)
    logits[2] = torch.tensor([3.0, -1.0, 2.5])  # one query, two likely classes
    return [(logits, _random(4, 4, seed=1).sigmoid(), 5), (_random(6, 5, seed=2), _random(6, 4, seed=3).sigmoid(), 4)]


def _detections(
    logits: Tensor, boxes: Tensor, count: int, *, turned: bool = False, corners: bool = True, softmax: bool = False
) -> dict[str, Tensor]:
    p = logits.softmax(-1) if softmax else logits.sigmoid()
    scores, pair = p.flatten().topk(count)
    classes = logits.shape[1]
    query, label = (pair % len(logits), pair // len(logits)) if turned else (pair // classes, pair % classes)
    at = boxes[query]
    return {"scores": scores, "labels": label, "boxes": box_cxcywh_to_xyxy(at) if corners else at}


def _one_each(logits: Tensor, boxes: Tensor, count: int) -> dict[str, Tensor]:
    scores, label = logits.sigmoid().max(-1)
    scores, query = scores.topk(min(count, len(scores)))
    return {"scores": scores, "labels": label[query], "boxes": box_cxcywh_to_xyxy(boxes[query])}


@exercise(
    cases=_predictions,
    mistakes={
        "Each query is here once, with its best class. The best pairs are wanted: a query may come twice.": _one_each,
        "Flattened, the classes of one query stand side by side: the query is the number // K, the label the rest.": (
            lambda logits, boxes, count: _detections(logits, boxes, count, turned=True)
        ),
        "These are probabilities of a softmax: every logit has a sigmoid of its own.": (
            lambda logits, boxes, count: _detections(logits, boxes, count, softmax=True)
        ),
        "The boxes are still cxcywh: outside of the model they are xyxy.": (
            lambda logits, boxes, count: _detections(logits, boxes, count, corners=False)
        ),
    },
)
def best_pairs(logits: Tensor, boxes: Tensor, count: int) -> dict[str, Tensor]:
    """Of logits (N, K) and boxes (N, 4) cxcywh the best pairs: scores, labels (count,), boxes (count, 4) xyxy."""
    scores, pair = logits.sigmoid().flatten().topk(count)  # (count,) each
    query, label = pair // logits.shape[1], pair % logits.shape[1]
    return {"scores": scores, "labels": label, "boxes": box_cxcywh_to_xyxy(boxes[query])}


def _maps() -> list[tuple[list[tuple[int, int]]]]:
    return [([(3, 5), (2, 3)],), ([(60, 80), (4, 4), (1, 2), (2, 2), (1, 2), (1, 1)],)]


def _squares(
    shapes: list[tuple[int, int]],
    *,
    grow: float = 2.0,
    half: float = 0.5,
    turned: bool = False,
    size: bool = True,
    rows_first: bool = True,
) -> tuple[Tensor, Tensor]:
    found = []
    for level, (h, w) in enumerate(shapes):
        y, x = (torch.arange(h) + half) / h, (torch.arange(w) + half) / w
        at = torch.cartesian_prod(y, x).flip(-1) if rows_first else torch.cartesian_prod(x, y)
        side = torch.full_like(at, 0.05 * grow**level)
        found.append(torch.cat([at.flip(-1) if turned else at, side], dim=-1))
    boxes = torch.cat(found)
    part = boxes if size else boxes[:, :2]
    return boxes, ((part > 0.01) & (part < 0.99)).all(-1)


@exercise(
    cases=_maps,
    mistakes={
        "All squares have a side of 0.05 here: it doubles with each level.": lambda shapes: _squares(shapes, grow=1.0),
        "The centers are half a cell too far up and left: cell i has its center at (i + 0.5) / w.": (
            lambda shapes: _squares(shapes, half=0.0)
        ),
        "x and y are exchanged: a box begins with the x of its center.": lambda shapes: _squares(shapes, turned=True),
        "The cells run down the columns here: a map is flattened row by row.": (
            lambda shapes: _squares(shapes, rows_first=False)
        ),
        "Only the centers are tested: a square is invalid as well where its side is too large.": (
            lambda shapes: _squares(shapes, size=False)
        ),
    },
)
def proposals(shapes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The squares of all cells of maps (h, w), cxcywh (S, 4), and whether each is valid (S,); nothing is padded."""
    boxes = []
    for level, (h, w) in enumerate(shapes):
        y, x = (torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w
        center = torch.cartesian_prod(y, x).flip(-1)  # (h * w, 2), x first
        side = torch.full_like(center, 0.05 * math.pow(2, level))
        boxes.append(torch.cat([center, side], dim=-1))
    found = torch.cat(boxes)
    return found, ((found > 0.01) & (found < 0.99)).all(-1)
