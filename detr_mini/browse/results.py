"""What a model gets right and wrong in a whole data set, for every threshold that the page offers."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_mini.browse.judging import CLASS, CROWD, DOUBTS, FATES, MATCH, RIGHT, Doubt, Judged
from detr_mini.browse.reading import Picture

THRESHOLDS = [round(0.05 * step, 2) for step in range(1, 20)]
DIGITS = 3  # of a score: those that are shown are those that are compared with a threshold


def summarize_results(
    pictures: Sequence[Picture], judged: Sequence[Judged], doubted: Sequence[Sequence[Doubt]], ids: Sequence[int]
) -> dict[str, Any]:
    """All that the page says of a model; ``ids`` are the categories in the order of the page."""
    detections, objects = _Detections(judged), _Objects(pictures, judged)
    return {
        "thresholds": THRESHOLDS,
        "match": MATCH,
        "fates": FATES,
        "doubts": DOUBTS,
        "doubted": Counter(doubt.kind for some in doubted for doubt in some),
        "ap50": [average_precision(detections, objects, id) for id in ids],
        "steps": [_at(threshold, detections, objects, list(ids)) for threshold in THRESHOLDS],
    }


class _Detections:
    """Those of all pictures in one row."""

    def __init__(self, judged: Sequence[Judged]) -> None:
        self.labels = np.concatenate([one.labels for one in judged])
        self.exact = np.concatenate([one.scores for one in judged])
        self.scores = self.exact.round(DIGITS)
        self.fates = np.concatenate([one.fates for one in judged])
        starts = np.cumsum([0, *(len(one.found) for one in judged)])
        self.objects = np.concatenate(
            [np.where(one.objects >= 0, one.objects + start, -1) for one, start in zip(judged, starts, strict=False)]
        )


class _Objects:
    """Those of all pictures in one row; ``counted`` leaves out crowds."""

    def __init__(self, pictures: Sequence[Picture], judged: Sequence[Judged]) -> None:
        self.labels = np.concatenate([picture.labels for picture in pictures])
        self.counted = ~np.concatenate([picture.crowd for picture in pictures])
        self.found = np.concatenate([one.found for one in judged]).round(DIGITS)


def average_precision(detections: _Detections, objects: _Objects, id: int) -> float | None:
    """COCO's AP at an IoU of 0.5 of one category; None where there is no object of it."""
    total = int((objects.counted & (objects.labels == id)).sum())
    if not total:
        return None
    mine = (detections.labels == id) & (detections.fates != CROWD)
    order = np.argsort(-detections.exact[mine], kind="stable")
    right = (detections.fates[mine][order] == RIGHT).cumsum()
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # at each recall the best that a higher one has
    places = np.searchsorted(right / total, np.linspace(0, 1, 101), side="left")
    values = np.append(precision, 0.0)[places]
    return round(float(values.mean()), 4)


def _at(threshold: float, detections: _Detections, objects: _Objects, ids: list[int]) -> dict[str, Any]:
    """Counts of the detections that score ``threshold`` or more."""
    shown = (detections.scores >= threshold) & (detections.fates != CROWD)
    labels, fates = detections.labels[shown], detections.fates[shown]
    matched = objects.counted & (objects.found >= threshold)
    mistaken = np.zeros(len(objects.labels), dtype=bool)  # objects taken for another class
    mistaken[detections.objects[shown][fates == CLASS]] = True
    return {
        "right": _by_class(labels[fates == RIGHT], ids),
        "false": _by_class(labels[fates != RIGHT], ids),
        "missed": _by_class(objects.labels[objects.counted & ~matched], ids),
        "kinds": np.bincount(fates, minlength=len(FATES)).tolist(),
        "unseen": int((objects.counted & ~matched & ~mistaken).sum()),
        "confusion": _confusion(shown, matched, mistaken, detections, objects, ids),
    }


def _by_class(labels: NDArray[np.int64], ids: list[int]) -> list[int]:
    counts = Counter(labels.tolist())
    return [counts[id] for id in ids]


def _confusion(
    shown: NDArray[np.bool_],
    matched: NDArray[np.bool_],
    mistaken: NDArray[np.bool_],
    detections: _Detections,
    objects: _Objects,
    ids: list[int],
) -> list[list[int]]:
    """Row (class of the object), column (class of the detection) and count; -1 stands for none."""
    place = {id: k for k, id in enumerate(ids)}
    cells: Counter[tuple[int, int]] = Counter()
    about = (detections.fates == RIGHT) | (detections.fates == CLASS)
    for label, object in zip(
        detections.labels[shown & about].tolist(), detections.objects[shown & about].tolist(), strict=True
    ):
        cells[place[int(objects.labels[object])], place.get(label, -1)] += 1
    for label in detections.labels[shown & ~about].tolist():
        cells[-1, place.get(label, -1)] += 1
    for label in objects.labels[objects.counted & ~matched & ~mistaken].tolist():
        cells[place[label], -1] += 1
    return [[row, column, count] for (row, column), count in sorted(cells.items())]
