"""Exercises of the chapter *Deformable DETR*."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from detr_mini.boxes import box_cxcywh_to_xyxy
from detr_mini.teaching.exercises import draw, exercise


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=draw(seed))


def _references() -> list[tuple[Tensor, Tensor]]:
    points, frames = _random(5, 2).sigmoid(), _random(4, 4, seed=1).sigmoid()
    return [(points, _random(5, 4, seed=2).sigmoid()), (frames, _random(4, 4, seed=3).sigmoid())]


def _logit(x: Tensor) -> Tensor:
    return (x / (1 - x)).log()


def _four(known: Tensor) -> Tensor:
    return F.pad(known, (0, 4 - known.shape[-1]))


@exercise(
    cases=_references,
    mistakes={
        "This is the difference of shares: the change is added to logits, so take the difference of logits.": (
            lambda reference, box: box - _four(reference)
        ),
        "The sign is turned round: from the reference to the box.": (
            lambda reference, box: _four(_logit(reference)) - _logit(box)
        ),
        "The reference is forgotten: these are the logits of the boxes.": lambda reference, box: _logit(box),
        "The reference went in as a share: take its logit, too.": lambda reference, box: _logit(box) - _four(reference),
        "The size of a reference that is a box was lost: its logits count as well.": (
            lambda reference, box: _logit(box) - _four(_logit(reference)[:, :2])
        ),
    },
)
def right_change(reference: Tensor, box: Tensor) -> Tensor:
    """From references, points (N, 2) or boxes (N, 4), to boxes (N, 4): the changes of their logits, (N, 4)."""
    known = (reference / (1 - reference)).log()
    known = F.pad(known, (0, 4 - known.shape[-1]))  # a point has no size
    return (box / (1 - box)).log() - known


def _answers() -> list[tuple[Tensor, Tensor]]:
    return [(_random(6, 4), torch.tensor([2, 1, 2])), (3 * _random(5, 3, seed=1), torch.tensor([0]))]


def _change_in_loss(
    logits: Tensor, labels: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, weight: float = 2.0, no: float = 1.0
) -> Tensor:
    logit = logits[:, labels]
    p = logit.sigmoid()
    of_yes = -alpha * (1 - p) ** gamma * F.logsigmoid(logit)
    of_no = -(1 - alpha) * p**gamma * F.logsigmoid(-logit)
    return weight * (of_yes - no * of_no)


@exercise(
    cases=_answers,
    mistakes={
        "This is the loss of the yes alone. A match also takes away the no that stood there: subtract it.": (
            lambda logits, labels: _change_in_loss(logits, labels, no=0.0)
        ),
        "The weight 2 of the class term is missing.": lambda logits, labels: _change_in_loss(
            logits, labels, weight=1.0
        ),
        "This grows with the probability: a cost is small where the match is good, so it is yes less no.": (
            lambda logits, labels: -_change_in_loss(logits, labels)
        ),
        "alpha and 1 - alpha are exchanged: 0.25 belongs to yes, 0.75 to no.": (
            lambda logits, labels: _change_in_loss(logits, labels, alpha=0.75)
        ),
        "The factors (1 - p)^2 and p^2 are missing: this is the cost by cross-entropy.": (
            lambda logits, labels: _change_in_loss(logits, labels, gamma=0.0)
        ),
        "This is DETR's cost, minus the probability by a softmax.": lambda logits, labels: (
            -logits.softmax(-1)[:, labels]
        ),
        "This is minus the probability. The cost here is what the match changes in the focal loss.": (
            lambda logits, labels: -logits.sigmoid()[:, labels]
        ),
    },
)
def class_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """What a match of each query, logits (N, K), with each object, labels (T,), would change in the loss: (N, T)."""
    logit = logits[:, labels]  # (N, T)
    p = logit.sigmoid()
    of_yes = -0.25 * (1 - p) ** 2 * F.logsigmoid(logit)
    of_no = -0.75 * p**2 * F.logsigmoid(-logit)
    return 2 * (of_yes - of_no)


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
