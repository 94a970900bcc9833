"""What a model gets right and wrong in a picture, and where it and the annotation disagree so that one must be wrong.

Detections are matched as COCO's evaluation does at an IoU of 0.5: within a class, from the highest score down, each
takes the free object that it overlaps most. So what becomes of a detection depends on those above it alone, and a
threshold changes which are counted, but nothing about those that are. The kinds of errors are in the manner of TIDE
(Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detr_mini.browse.overlap import Boxes, ious, shares_inside
from detr_mini.browse.reading import Picture

MATCH = 0.5  # IoU from which a box is right
TOUCH = 0.1  # IoU below which a box is about something else, or nothing
RIGHT, DUPLICATE, CLASS, BOX, BOTH, BACKGROUND, CROWD = range(7)
FATES = {  # of a detection, and what each means
    "right": "matched: the right class, with an IoU of 0.5 or more",
    "duplicate": "of the right class, at an object that a higher score has taken",
    "class": "at an object of another class, with an IoU of 0.5 or more",
    "box": "of the right class, with an IoU between 0.1 and 0.5",
    "both": "at an object of another class, with an IoU between 0.1 and 0.5",
    "background": "where no object is: every IoU is below 0.1",
    "crowd": "within a crowd of its class, which does not count",
}
DOUBTFUL = 0.3  # how sure of a mistake in the annotation one must be to say so


@dataclass(frozen=True)
class Judged:
    """The detections in a picture, from the highest score down, and what became of them and of the objects."""

    labels: NDArray[np.int64]  # (D,), category ids
    boxes: NDArray[np.float64]  # (D, 4), xyxy in pixels
    scores: NDArray[np.float64]  # (D,)
    fates: NDArray[np.int64]  # (D,), places in FATES
    objects: NDArray[np.int64]  # (D,), the object that each is about, or -1
    overlaps: NDArray[np.float64]  # (D,), the IoU with that object, or 0
    found: NDArray[np.float64]  # (T,), the score of the detection that matched each object, or 0


@dataclass(frozen=True)
class Doubt:
    """Why an annotation may be wrong: its kind, how sure one can be in [0, 1], which detection and object say so."""

    kind: str
    sure: float
    detection: int
    object: int  # or -1


DOUBTS = {
    "missing": "Box missing? The model is sure of an object where none is annotated",
    "label": "Wrong class? The model is sure of another class for this box",
    "place": "Wrong box? The model is sure of the class, with a box that fits this one badly",
}


def judge(picture: Picture, labels: NDArray[np.int64], boxes: Boxes, scores: NDArray[np.floating]) -> Judged:
    """Match the detections of a picture, given from the highest score down.

    Args:
        picture: with its annotated objects.
        labels: category ids, ``(D,)``.
        boxes: xyxy in pixels, ``(D, 4)``.
        scores: in [0, 1], ``(D,)``.
    """
    overlap = ious(boxes, picture.boxes)
    overlap[:, picture.crowd] = 0
    in_crowd = np.where(picture.crowd, shares_inside(boxes, picture.boxes), 0.0)
    fates, objects = np.full(len(labels), BACKGROUND), np.full(len(labels), -1)
    found = np.zeros(len(picture.labels))
    for d, label in enumerate(labels):
        same = (picture.labels == label) & ~picture.crowd
        fates[d], objects[d] = _fate(overlap[d], same, found > 0)
        if fates[d] == RIGHT:
            found[objects[d]] = max(scores[d], 1e-9)
        elif (in_crowd[d, picture.labels == label] >= MATCH).any():
            fates[d], objects[d] = CROWD, -1
    taken = np.where(objects >= 0, objects, 0)
    overlaps = np.where(objects >= 0, overlap[np.arange(len(labels)), taken] if overlap.size else 0.0, 0.0)
    return Judged(labels, np.asarray(boxes), np.asarray(scores), fates, objects, overlaps, found)


def _fate(overlap: NDArray[np.floating], same: NDArray[np.bool_], taken: NDArray[np.bool_]) -> tuple[int, int]:
    """What becomes of a detection whose IoU with each object is ``overlap`` ``(T,)``, and the object it is about."""
    for fate, among, least in (
        (RIGHT, same & ~taken, MATCH),
        (DUPLICATE, same & taken, MATCH),
        (CLASS, ~same, MATCH),
        (BOX, same, TOUCH),
        (BOTH, ~same, TOUCH),
    ):
        best = _last_best(np.where(among, overlap, -1.0))
        if best >= 0 and among[best] and overlap[best] >= least:
            return fate, best
    return BACKGROUND, -1


def _last_best(values: NDArray[np.floating]) -> int:
    """The place of the greatest, of equal ones the last, as in COCO's evaluation; -1 of none."""
    return len(values) - 1 - int(values[::-1].argmax()) if len(values) else -1


def doubts(picture: Picture, judged: Judged) -> list[Doubt]:
    """Where the annotation of a picture may be wrong, the surest first; one doubt for an object, and for a place."""
    in_crowd = shares_inside(judged.boxes, picture.boxes[picture.crowd]).max(axis=1, initial=0) >= MATCH
    found = sorted(
        (one for one in _all_doubts(judged) if not in_crowd[one.detection]),
        key=lambda doubt: (-doubt.sure, doubt.detection),
    )
    kept: list[Doubt] = []
    for doubt in found:
        boxes = judged.boxes[[other.detection for other in kept]].reshape(-1, 4)
        again = doubt.object >= 0 and doubt.object in [other.object for other in kept]
        if not again and not (ious(judged.boxes[[doubt.detection]], boxes) > MATCH).any():
            kept.append(doubt)
    return [doubt for doubt in kept if doubt.sure >= DOUBTFUL]


def _all_doubts(judged: Judged) -> Iterator[Doubt]:
    for d, fate in enumerate(judged.fates):
        score, object = float(judged.scores[d]), int(judged.objects[d])
        unfound = 1 - float(judged.found[object]) if object >= 0 else 1.0  # by a detection of its own class
        if fate in (BACKGROUND, BOTH):
            yield Doubt("missing", score * (1 - float(judged.overlaps[d])), d, -1)
        elif fate == CLASS:
            yield Doubt("label", score * unfound, d, object)
        elif fate == BOX:
            yield Doubt("place", score * unfound * (1 - float(judged.overlaps[d])), d, object)
