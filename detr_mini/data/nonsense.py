"""Tell boxes that are sound one by one, and as a whole mean something else than pixels x, y, width, height.

Chapter: *Data preparation*, ``book/04_data``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
WANTED = 'COCO\'s "bbox" is x, y, width, height in pixels, x and y of the upper left corner'
NEARLY_ALL = 0.9
SCALES = ((100, "percent of the picture"), (1000, "thousandths of the picture"))
FEW = 8  # boxes, from which on a pattern in all of them is no chance


@dataclass(frozen=True)
class Boxes:
    """The boxes of a split, without crowds: ``xywh`` (N, 4), ``sizes`` (N, 2) width and height of their pictures."""

    xywh: Array
    sizes: Array
    areas: Array
    images: int  # in how many pictures they are
    outlines: Sequence[tuple[int, Array]] = ()  # of some boxes, by index: x, y of two corners around the polygons


def nonsense(boxes: Boxes) -> tuple[str, bool] | None:
    """What the boxes seem to be instead, and whether that is sure; None where they seem sound."""
    if not len(boxes.xywh):
        return None
    for find in (_shares, _points, _scaled, _corners):
        if found := find(boxes):
            return found
    return None


def _most(holds: Any) -> bool:
    return float(np.mean(holds)) >= NEARLY_ALL


def _shares(boxes: Boxes) -> tuple[str, bool] | None:
    """Numbers from 0 to 1."""
    box = boxes.xywh
    if not _most((box <= 1.001).all(1) & (boxes.sizes > 4).all(1)) or not (box % 1).any():
        return None
    by_corner = (box[:, :2] + box[:, 2:] <= 1.01).all()
    by_center = (box[:, :2] + box[:, 2:] / 2 <= 1.01).all() and (box[:, :2] >= box[:, 2:] / 2 - 0.01).all()
    if by_center and not by_corner:
        form, what = "as YOLO has them, center and size", "subtract half of width and height from x and y, then "
    elif by_center:
        form, what = (
            "x, y, width, height or, as YOLO has them, center and size",
            "for centers subtract half of the size, then ",
        )
    else:
        form, what = "", ""
    text = f"the boxes are shares of the picture, 0 to 1{f' ({form})' if form else ''}. {WANTED}: "
    return f"{text}{what}multiply x and width by the width of the picture, y and height by its height", True


def _points(boxes: Boxes) -> tuple[str, bool] | None:
    """Sides of a pixel or less."""
    if not _most((boxes.xywh[:, 2:] <= 1.5).all(1) & (boxes.sizes > 4).all(1)):
        return None
    return f"the boxes are of one pixel or less, so these are points, or shares of a picture. {WANTED}", True


def _scaled(boxes: Boxes) -> tuple[str, bool] | None:
    """Numbers from 0 to 100 or 1,000, whatever the size of the picture."""
    reach = (boxes.xywh[:, :2] + boxes.xywh[:, 2:]).max(0)
    for whole, name in SCALES:
        inside = (reach <= whole * 1.005).all() and (boxes.sizes >= whole * 1.5).all()
        if inside and (reach >= whole * 0.7).all() and len(boxes.xywh) > 1:
            sure = len(boxes.xywh) >= FEW and bool((reach >= whole * 0.85).all())
            text = f"no box reaches beyond {whole}, though the pictures do: these may be {name}. {WANTED}"
            return f"{text}: multiply by width or height of the picture / {whole}", sure
    return None


def _corners(boxes: Boxes) -> tuple[str, bool] | None:
    """Numbers x, y, x, y: areas and outlines agree with that alone, or the third number is always above the first."""
    box = boxes.xywh
    ordered = (box[:, 2:] > box[:, :2]).all(1) & (box[:, 2:] <= boxes.sizes + 1).all(1)
    text = f"the boxes look like x, y, x, y, two corners. {WANTED}: subtract the first corner from the second"
    if not _most(ordered):
        return None
    sides = box[:, 2:] - box[:, :2]
    as_corners, as_sizes = sides.prod(1), box[:, 2:].prod(1)
    by_area = np.abs(boxes.areas - as_corners) <= 0.02 * as_corners + 1
    by_area &= np.abs(boxes.areas - as_sizes) > 0.02 * as_sizes + 1
    if _most(by_area):
        return f"{text}. Their areas say so", True
    if len(boxes.outlines) > 1 and all(_is_around(box[i], outline, boxes.sizes[i]) for i, outline in boxes.outlines):
        return f"{text}. Their outlines say so", True
    middle = ((box[:, :2] + box[:, 2:] / 2) / boxes.sizes).mean(0)
    large = bool((np.abs(middle - 0.5) < 0.08).all()) and len(box) <= 1.3 * boxes.images  # one large object a picture
    agree = any(_agrees(box[i], outline) for i, outline in boxes.outlines)
    if len(box) < FEW // 2 or agree or not ordered.all():
        return None
    return f"{text}. In all {len(box)} the third number is above the first, and the fourth above the second", (
        len(box) >= FEW and not large
    )


def _is_around(box: Array, outline: Array, size: Array) -> bool:
    """Whether corners, and not a box by its size, lie around an outline."""
    return bool((np.abs(box - outline) <= 2 + 0.01 * size.max()).all()) and not _agrees(box, outline)


def _agrees(box: Array, outline: Array) -> bool:
    """Whether a box by its size lies around an outline."""
    corners = np.concatenate([box[:2], box[:2] + box[2:]])
    return bool((np.abs(corners - outline) <= 2).all())


def boxes_of(annotations: Sequence[dict[str, Any]], sizes: dict[int, tuple[int, int]]) -> Boxes:
    """The boxes of annotations that are no crowds, with some outlines."""
    objects = [a for a in annotations if not a["iscrowd"]]
    outlines = []
    for index, one in enumerate(objects[:2000]):
        polygons = one.get("segmentation")
        try:
            points = np.concatenate([np.array(p, dtype=float).reshape(-1, 2) for p in polygons or ()])
            outlines.append((index, np.concatenate([points.min(0), points.max(0)])))
        except (ValueError, TypeError):  # run lengths, or none
            continue
    return Boxes(
        xywh=np.array([a["bbox"] for a in objects], dtype=float).reshape(-1, 4),
        sizes=np.array([sizes[a["image_id"]] for a in objects], dtype=float).reshape(-1, 2),
        areas=np.array([a["area"] for a in objects], dtype=float),
        images=len({a["image_id"] for a in objects}),
        outlines=outlines,
    )
