"""What each field of a COCO file must be: a test, and the words that say it.

Chapter: *Data preparation*, ``book/04_data``.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

LARGEST = 1e9  # no coordinate, area or side comes near it; a NaN fails the comparison too
HIGHEST_CATEGORY = 99_999  # the model has a class slot for every id up to the highest
HIGHEST_SEGMENT = 2**24 - 1  # three bytes of a pixel hold its segment


class Rule(NamedTuple):
    """Whether a value will do, and what it must be."""

    holds: Callable[[Any], bool]
    meaning: str


def is_whole(value: Any) -> bool:
    """Whether it can be an id."""
    return type(value) is int and abs(value) < 2**63  # bool is a subclass of int; ids become int64


def is_number(value: Any) -> bool:
    """Whether it can be a coordinate or an area."""
    return type(value) in (int, float) and abs(value) < LARGEST


def as_whole(value: Any) -> int | None:
    """The whole number that a value means: 7, 7.0, "7" or "7.0"; None where it is none."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}(\.0+)?", value.strip()):
        value = int(value.strip().partition(".")[0])
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if is_whole(value) else None


def as_number(value: Any) -> float | None:
    """The finite number that a value means, itself or as text; None where it is none."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}(\.[0-9]*)?([eE]-?[0-9]{1,3})?", value.strip()):
        value = float(value.strip())
    return value if is_number(value) else None


def is_text(value: str) -> bool:
    """Whether a string from JSON can be written and shown: half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


_ID = Rule(is_whole, "must be a whole number that fits 64 bits")
IMAGE = {
    "id": _ID,
    "file_name": Rule(lambda v: type(v) is str and v != "", "must be the name of a picture file"),
    "width": Rule(lambda v: is_whole(v) and 0 < v < LARGEST, "must be a whole number of pixels above 0"),
    "height": Rule(lambda v: is_whole(v) and 0 < v < LARGEST, "must be a whole number of pixels above 0"),
}
CATEGORY = {
    "id": Rule(
        lambda v: is_whole(v) and 0 <= v <= HIGHEST_CATEGORY,
        f"must be a whole number from 0 to {HIGHEST_CATEGORY}: the model has a slot for every id up to the highest",
    ),
    "name": Rule(lambda v: type(v) is str and v != "" and is_text(v), "must be the name of the category"),
}
ANNOTATION = {
    # pycocotools marks a match with the id of the annotation and reads 0 as unmatched
    "id": Rule(lambda v: is_whole(v) and v > 0, "must be a whole number above 0: evaluation reads 0 as no match"),
    "image_id": _ID,
    "category_id": _ID,
    "bbox": Rule(
        lambda v: type(v) is list and len(v) == 4 and all(map(is_number, v)),
        "must be four finite numbers, x, y, width, height",
    ),
    "area": Rule(lambda v: is_number(v) and v >= 0, "must be a finite number of pixels, 0 or more"),
    "iscrowd": Rule(lambda v: type(v) is int and v in (0, 1), "must be 0, or 1 for a crowd"),
}
PANOPTIC_CATEGORY = CATEGORY | {
    "isthing": Rule(lambda v: type(v) is int and v in (0, 1), "must be 1 for things, which are counted, or 0 for stuff")
}
PANOPTIC_ANNOTATION = {
    "image_id": _ID,
    "file_name": Rule(lambda v: type(v) is str and v != "", "must be the name of a PNG file"),
    "segments_info": Rule(lambda v: type(v) is list, "must be a list of segments"),
}
SEGMENT = {
    "id": Rule(
        lambda v: is_whole(v) and 0 < v <= HIGHEST_SEGMENT,
        f"must be a whole number from 1 to {HIGHEST_SEGMENT}: a pixel has three bytes for it, and 0 is no segment",
    ),
    **{key: ANNOTATION[key] for key in ("category_id", "bbox", "area", "iscrowd")},
}


def is_polygon(value: Any) -> bool:
    """Whether it is a polygon of COCO: x, y, x, y, ... of three points or more."""
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(is_number, value))
