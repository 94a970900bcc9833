"""Possible faults of a data set that follow no rule of its format: a person has to look, and the page says where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detr_mini.browse.overlap import areas, ious, shares_inside
from detr_mini.browse.reading import DataSet, Picture

OVERSHOOT = 1.0  # pixels beyond the picture: less is rounding
TINY = 2.0  # pixels: a thinner box has hardly anything in it
GIANT = 0.95  # of the picture
SAME = 0.95  # IoU from which two boxes are one
INSIDE = 0.98  # of a box that lies in another of its class
UNUSUAL = 5.0  # times the usual distance from the middle, of sizes within a class
ENOUGH = 30  # objects of a class before a size can be called unusual in it


@dataclass(frozen=True)
class Kind:
    """A kind of possible fault: what it is called, what it says, and how much it weighs where pictures are sorted."""

    title: str
    meaning: str
    weight: float


KINDS = {
    "check": Kind("Breaks a rule", "what detr-mini check-data reports of the picture or its annotations", 5),
    "outside": Kind("Outside", "a box reaches more than a pixel out of the picture", 4),
    "duplicate": Kind("Twice", f"two boxes of one class with an IoU above {SAME}", 4),
    "two classes": Kind("Two classes", f"two boxes of different classes with an IoU above {SAME}", 4),
    "twin": Kind("In two splits", "nearly the same picture is in another split", 3),
    "tiny": Kind("Tiny", f"a side of a box is below {TINY:g} pixels", 2),
    "giant": Kind("Giant", f"a box covers {GIANT:.0%} of the picture or more".replace("%", " %"), 2),
    "unusual": Kind("Unusual size", "far larger or smaller than the others of its class", 2),
    "inside": Kind("Inside its own kind", "a box lies in another box of its class", 1),
    "empty": Kind("No objects", "a picture without an object", 0.5),
}


@dataclass(frozen=True)
class Finding:
    """A possible fault: its kind, which of the picture's objects are meant, and words for it."""

    kind: str
    objects: tuple[int, ...]
    text: str


def find_in_pictures(data: DataSet) -> list[list[Finding]]:
    """What can be found without looking at pixels, for each picture of a data set."""
    middles = _usual_sizes(data.pictures)
    return [list(_of_picture(picture, data.class_names, middles)) for picture in data.pictures]


def _of_picture(picture: Picture, names: dict[int, str], middles: dict[int, tuple[float, float]]) -> Iterator[Finding]:
    yield from (Finding("check", (), words) for words in picture.words)
    if not len(picture.boxes):
        yield Finding("empty", (), "the picture has no objects; right, if there is nothing to find in it")
    told = [names.get(int(label), str(label)) for label in picture.labels]
    yield from _single_boxes(picture, told)
    yield from _sizes(picture, told, middles)
    yield from _pairs(picture, told)


def _single_boxes(picture: Picture, told: Sequence[str]) -> Iterator[Finding]:
    limits = np.array([picture.width, picture.height])
    beyond = np.maximum((-picture.boxes[:, :2]).max(axis=1), (picture.boxes[:, 2:] - limits).max(axis=1))
    sides = picture.boxes[:, 2:] - picture.boxes[:, :2]
    covered = areas(picture.boxes.clip(0, np.tile(limits, 2))) / limits.prod()
    for k, name in enumerate(told):
        if beyond[k] > OVERSHOOT:
            yield Finding("outside", (k,), f"{name}: reaches {beyond[k]:.0f} px out of the picture")
        if sides[k].min() < TINY:
            yield Finding("tiny", (k,), f"{name}: {sides[k][0]:.3g} × {sides[k][1]:.3g} px")
        if covered[k] >= GIANT and not picture.crowd[k]:
            yield Finding("giant", (k,), f"{name}: covers {100 * covered[k]:.0f} % of the picture")


def _pairs(picture: Picture, told: Sequence[str]) -> Iterator[Finding]:
    """Of two objects that are no crowds."""
    overlap, inside = ious(picture.boxes, picture.boxes), shares_inside(picture.boxes, picture.boxes)
    overlap[picture.crowd] = overlap[:, picture.crowd] = inside[picture.crowd] = inside[:, picture.crowd] = 0
    same = picture.labels[:, None] == picture.labels
    for i, j in zip(*np.triu(overlap > SAME, 1).nonzero(), strict=True):
        pair = (int(i), int(j))
        if same[i, j]:
            yield Finding("duplicate", pair, f"{told[i]}: two boxes at one place, IoU {overlap[i, j]:.2f}")
        else:
            yield Finding("two classes", pair, f"{told[i]} and {told[j]} at one place, IoU {overlap[i, j]:.2f}")
    np.fill_diagonal(inside, 0)
    for i, j in zip(*(same & (inside >= INSIDE) & (overlap <= SAME)).nonzero(), strict=True):
        yield Finding("inside", (int(i), int(j)), f"{told[i]}: lies in another {told[j]}")


def _sizes(picture: Picture, told: Sequence[str], middles: dict[int, tuple[float, float]]) -> Iterator[Finding]:
    for k, size in enumerate(_log_sizes(picture)):
        middle, spread = middles.get(int(picture.labels[k]), (0.0, np.inf))
        if abs(size - middle) > UNUSUAL * spread and np.isfinite(size) and not picture.crowd[k]:
            times = 2 ** abs(size - middle)
            word = "larger" if size > middle else "smaller"
            yield Finding("unusual", (k,), f"{told[k]}: {times:.1f} times {word} than the middle {told[k]}")


def _log_sizes(picture: Picture) -> NDArray[np.float64]:
    """Of each object the logarithm to base 2 of its size as a share of the picture's; -inf without area."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log2(areas(picture.boxes) / (picture.width * picture.height)) / 2)


def _usual_sizes(pictures: Sequence[Picture]) -> dict[int, tuple[float, float]]:
    """By category the median of the logarithms of sizes, and the median distance from it, of classes with enough."""
    if not pictures:
        return {}
    sizes = np.concatenate([_log_sizes(picture) for picture in pictures])
    labels = np.concatenate([picture.labels for picture in pictures])
    usual = {}
    for label in np.unique(labels):
        mine = sizes[(labels == label) & np.isfinite(sizes)]
        if len(mine) >= ENOUGH:
            middle = float(np.median(mine))
            usual[int(label)] = middle, max(float(np.median(np.abs(mine - middle))), 0.05)
    return usual
