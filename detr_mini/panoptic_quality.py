"""Panoptic quality: how well a picture was cut into segments of things and stuff (Kirillov et al. 2019, section 4).

Chapter: *Panoptic segmentation*, ``book/21_panoptic``.

The rules on void and crowds are those of COCO's panopticapi. Each picture is counted by itself. Pictures counted by
several processes are put into one list, and :func:`panoptic_quality` gives the same numbers in whatever order.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BIG = 2**32  # above every id of a segment, so that one number says two

Array = NDArray[Any]


class Tally(NamedTuple):
    """What was counted of one category."""

    matched: int = 0  # segments that were found (true positives)
    wrong: int = 0  # predicted segments that match none (false positives)
    missed: int = 0  # annotated segments that none matches (false negatives)
    iou: float = 0.0  # of the matched, added up

    @property
    def sq(self) -> float:
        """Segmentation quality, the mean IoU of what was found; 0 where nothing was."""
        return self.iou / self.matched if self.matched else 0.0

    @property
    def rq(self) -> float:
        """Recognition quality, the F1 score of finding; 0 where nothing was found."""
        return self.matched / (self.matched + (self.wrong + self.missed) / 2) if self.matched else 0.0

    @property
    def pq(self) -> float:
        """Panoptic quality, SQ times RQ."""
        return self.sq * self.rq


def compare_segments(found: Mapping[str, Any], true: Mapping[str, Any]) -> dict[int, Tally]:
    """Compare the segments of one picture with the annotated ones.

    Two segments match if they are of one category and their IoU is above 0.5; then neither can match another. Void,
    pixels of no annotated segment, is left out of the union. A predicted segment that matches none is not counted if
    more than half of it lies in void or in crowds of its category. Crowds need not be found.

    Args:
        found: as :func:`.postprocess_panoptic` gives it: ``ids`` ``(H, W)`` int64 from 0 up, and ``segments``, of
            which ``id`` and ``category_id`` are read. Pixels with the id of no segment are left open.
        true: as :meth:`.PanopticDataset.panoptic` gives it; ``iscrowd`` is read too, and may be missing.

    Returns:
        A tally for each category that has a segment in either.

    Raises:
        ValueError: the pictures differ in height or width.
    """
    overlap = _overlap(found, true)  # (T + 1, P + 1), the last row void, the last column left open
    shared, in_void = overlap[:-1, :-1], overlap[-1, :-1]
    area = overlap.sum(0)[:-1]  # (P,) of each predicted segment
    union = overlap.sum(1)[:-1, None] + (area - in_void) - shared  # (T, P)
    iou = shared / union.clip(min=1)

    kind, kind_found = _column(true, "category_id"), _column(found, "category_id")  # (T,), (P,)
    crowd = _column(true, "iscrowd") > 0  # (T,)
    same = kind[:, None] == kind_found
    match = same & ~crowd[:, None] & (iou > 0.5)  # (T, P), at most one in each row and column
    in_crowd = (shared * (same & crowd[:, None])).sum(0)  # (P,)
    wrong = ~match.any(0) & (in_void + in_crowd <= area / 2)
    missed = ~match.any(1) & ~crowd
    return {
        category: Tally(
            matched=int(match[kind == category].sum()),
            wrong=int(wrong[kind_found == category].sum()),
            missed=int(missed[kind == category].sum()),
            iou=math.fsum(iou[match & (kind == category)[:, None]]),
        )
        for category in np.union1d(kind, kind_found).tolist()
    }


def add_tallies(tallies: Iterable[Mapping[int, Tally]]) -> dict[int, Tally]:
    """The tallies of many pictures, added up for each category; the same to the last digit in whatever order."""
    of: defaultdict[int, list[Tally]] = defaultdict(list)
    for picture in tallies:
        for category, tally in picture.items():
            of[category].append(tally)
    return {category: _sum(of[category]) for category in sorted(of)}


def panoptic_quality(
    tallies: Iterable[Mapping[int, Tally]], categories: Collection[int], stuff: Collection[int]
) -> dict[str, float]:
    """PQ, SQ and RQ of all categories, of things and of stuff.

    Each is a mean over the categories that occur: with a segment that was matched, wrong or missed.

    Args:
        tallies: of each picture, from :func:`compare_segments`.
        categories: the ids of the data. What was found of others is left out, as pycocotools does with boxes.
        stuff: which of them are stuff; the others are things.

    Returns:
        ``PQ``, ``SQ`` and ``RQ``, then the three with ``_th``, of things, and with ``_st``, of stuff. They lie in
        [0, 1], or are -1 where no category occurs.
    """
    occurring = {c: t for c, t in add_tallies(tallies).items() if c in categories and t.matched + t.wrong + t.missed}
    groups = {
        "": list(occurring.values()),
        "_th": [tally for category, tally in occurring.items() if category not in stuff],
        "_st": [tally for category, tally in occurring.items() if category in stuff],
    }
    numbers: dict[str, float] = {}
    for ending, group in groups.items():
        numbers[f"PQ{ending}"] = _mean([tally.pq for tally in group])
        numbers[f"SQ{ending}"] = _mean([tally.sq for tally in group])
        numbers[f"RQ{ending}"] = _mean([tally.rq for tally in group])
    return numbers


def _overlap(found: Mapping[str, Any], true: Mapping[str, Any]) -> Array:
    """How many pixels each annotated segment shares with each predicted one, ``(T + 1, P + 1)``; the last are none."""
    if true["ids"].shape != found["ids"].shape:
        sizes = " and ".join(f"{height} x {width}" for height, width in (found["ids"].shape, true["ids"].shape))
        raise ValueError(f"segments of {sizes} pixels cannot be compared: predict them at the size of the picture")
    row, column = ({segment["id"]: k for k, segment in enumerate(one["segments"])} for one in (true, found))
    overlap = np.zeros((len(row) + 1, len(column) + 1), dtype=np.int64)
    pairs, counts = np.unique((true["ids"].cpu().long() * BIG + found["ids"].cpu()).numpy(), return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        overlap[row.get(pair // BIG, -1), column.get(pair % BIG, -1)] += count
    return overlap


def _column(picture: Mapping[str, Any], name: str) -> Array:
    """A number of each segment, 0 where it has none of that name."""
    return np.array([segment.get(name, 0) for segment in picture["segments"]], dtype=np.int64)


def _sum(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        matched=sum(tally.matched for tally in tallies),
        wrong=sum(tally.wrong for tally in tallies),
        missed=sum(tally.missed for tally in tallies),
        iou=math.fsum(tally.iou for tally in tallies),  # rounded once, at the end
    )


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else -1.0
