"""Outlines of objects: polygons in the forms that tools write, and the box and the area that follow from them.

Chapter: *Data preparation*, ``book/04_data``.
"""

from typing import Any

import numpy as np

from detr_mini.data.findings import NOTHING, Notes
from detr_mini.data.rules import LARGEST, as_number


def mend_outline(value: Any, where: str, image: int, notes: Notes) -> Any:
    """Polygons in the form that COCO gives them; what is none stays as it is, since boxes do without."""
    if value is NOTHING or isinstance(value, dict) or value == []:
        return value
    if value is None:
        notes.add('"segmentation" is null: read as none', where, NOTHING, image)
        return []
    if not isinstance(value, list):
        return value
    if all(type(polygon) is list and len(polygon) > 4 and type(polygon[0]) in (int, float) for polygon in value):
        return value
    if not any(isinstance(part, (list, dict)) for part in value):
        polygons = [value]
    elif all(isinstance(part, list) and len(part) == 2 for part in value):
        polygons = [[side for point in value for side in point]]
    else:
        polygons = [_flat(part) for part in value]
    read = [[as_number(side) for side in polygon] for polygon in polygons if isinstance(polygon, list)]
    if len(read) < len(polygons) or any(len(p) < 6 or len(p) % 2 or None in p for p in read):
        return value
    notes.add("polygons written as a flat list, as points or as text are read as COCO writes them", where, value, image)
    return read


def _flat(part: Any) -> Any:
    """A polygon of points, each x, y, as one list."""
    if isinstance(part, list) and part and all(isinstance(point, list) and len(point) == 2 for point in part):
        return [side for point in part for side in point]
    return part


def _polygons(outline: Any) -> list[Any]:
    """Corners ``(P, 2)`` of each polygon of an outline; none of one that has other forms."""
    if not isinstance(outline, list) or not outline:
        return []
    corners = []
    for polygon in outline:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return []
        if any(type(side) not in (int, float) or not abs(side) < LARGEST for side in polygon):
            return []
        corners.append(np.array(polygon, dtype=np.float64).reshape(-1, 2))
    return corners


def _run_lengths(outline: Any, size: tuple[int, int]) -> Any:
    """Run lengths as pycocotools packs them, if they are for a picture of ``size`` (width, height)."""
    from pycocotools import mask

    if not isinstance(outline, dict) or outline.get("size") != [size[1], size[0]]:
        return None
    counts = outline.get("counts")
    if isinstance(counts, list):
        sound = all(type(c) is int and c >= 0 for c in counts) and sum(counts) == size[0] * size[1]
        return mask.frPyObjects(outline, size[1], size[0]) if sound else None
    return None  # packed text is not taken apart: damaged, it brings pycocotools down


def box_around(outline: Any, size: tuple[int, int]) -> list[float] | None:
    """The box around an outline, x, y, width, height."""
    from pycocotools import mask

    if corners := _polygons(outline):
        low, high = np.concatenate(corners).min(0), np.concatenate(corners).max(0)
        return [*low.tolist(), *(high - low).tolist()]
    packed = _run_lengths(outline, size)
    return None if packed is None else mask.toBbox(packed).tolist()


def area_of(outline: Any, size: tuple[int, int]) -> float | None:
    """The area of an outline in pixels; None where it has no sound form, or several polygons, which may overlap."""
    from pycocotools import mask

    corners, packed = _polygons(outline), _run_lengths(outline, size)
    if len(corners) == 1:
        x, y = corners[0].T
        return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    return None if packed is None else float(mask.area(packed))
