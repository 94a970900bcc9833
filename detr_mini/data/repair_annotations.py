"""Mend what an annotation file says of its objects: what follows from something else, and what can be left out.

Chapter: *Data preparation*, ``book/04_data``.
"""

import json
from collections import defaultdict
from collections.abc import Hashable
from typing import Any, TypeAlias

from detr_mini.data.findings import NOTHING, Notes, shown
from detr_mini.data.outlines import area_of, box_around, mend_outline
from detr_mini.data.repair_images import Images, as_key, is_much
from detr_mini.data.rules import LARGEST, as_number, as_whole, is_whole

Record: TypeAlias = dict[str, Any]
THINNEST = 0.01  # pixels: a thinner box has no area left once it is flipped or resized in single precision
UNKNOWN_CATEGORY = 'unknown category: no such id in "categories"'
AS_TEXT = "numbers written as text are read as numbers"


class UnusableError(Exception):
    """A record cannot be used; the text says why, and the second argument is the value that it cannot be used for."""


def mend_annotations(records: list[Any], images: Images, categories: dict[Hashable, int], notes: Notes) -> list[Record]:
    """The annotations that can be used, with every key that training and evaluation read.

    Args:
        records: the list ``annotations`` of the file.
        images: mended.
        categories: the number of each category, by its id as written (see :func:`.as_key`).
        notes: takes what was mended, what was left out, and what is wrong.
    """
    kept: list[Record] = []
    bad: dict[str, list[tuple[str, Any, int | None]]] = defaultdict(list)
    orphans: list[tuple[str, Any]] = []
    sizes = {image["id"]: (image["width"], image["height"]) for image in images.records}
    for index, record in enumerate(records):
        where = _where(index, record)
        try:
            number = _image(record, images)
            if number in images.absent:
                orphans.append((where, number))
            elif number in sizes:
                kept.append(_mended(record, where, number, sizes[number], categories, notes))
        except UnusableError as error:
            reason, value = error.args
            image = images.number.get(as_key(record.get("image_id"))) if isinstance(record, dict) else None
            bad[reason].append((where, value, image))
    _tell_bad(bad, len(records), notes)
    for where, number in orphans:
        notes.add("annotations of pictures that are not there are left out", where, number)
    return _number_anew(_without_doubles(kept, images.joined, notes), notes)


def _where(index: int, record: Any) -> str:
    number: Any = record.get("id") if isinstance(record, dict) else None
    return f"annotation {number}" if is_whole(number) and number > 0 else f"annotations[{index}]"


def _image(record: Any, images: Images) -> int:
    if not isinstance(record, dict):
        raise UnusableError("must be an object", record)
    key = as_key(record.get("image_id"))
    if key not in images.number:
        number = as_whole(key)
        if key is None or number not in images.number:
            raise UnusableError('unknown image: no such id in "images"', record.get("image_id", NOTHING))
        key = number
    return images.number[key]


def _mended(
    record: Record, where: str, image: int, size: tuple[int, int], categories: dict[Hashable, int], notes: Notes
) -> Record:
    """A record with sound fields: itself, if it has them already."""
    changed: Record = {}
    if type(record["image_id"]) is not int or record["image_id"] != image:
        changed["image_id"] = image
        if type(record["image_id"]) is not int and as_whole(record["image_id"]) == image:
            notes.add("image ids written as text or with a point are read as numbers", where, record["image_id"])
    number = _category(record, where, categories, notes)
    if type(record["category_id"]) is not int or number != record["category_id"]:
        changed["category_id"] = number
    for key, value in (
        ("segmentation", mend_outline(record.get("segmentation", NOTHING), where, image, notes)),
        ("iscrowd", _crowd(record, where, image, notes)),
    ):
        if value is not record.get(key, NOTHING):
            changed[key] = value
    outline = changed.get("segmentation", record.get("segmentation"))
    box = _box(record, outline, size, where, image, notes)
    if box is not record.get("bbox"):
        changed["bbox"] = box
    area: Any = record.get("area")
    if type(area) not in (int, float) or not 0 <= area < LARGEST:
        changed["area"] = _area(area if "area" in record else NOTHING, box, outline, size, where, image, notes)
    return record | changed if changed else record


def _category(record: Record, where: str, categories: dict[Hashable, int], notes: Notes) -> int:
    value = record.get("category_id")
    key = as_key(value)
    if key not in categories:
        if "category_id" not in record or key is None:
            raise UnusableError('has no "category_id"', record.get("category_id", NOTHING))
        raise UnusableError(UNKNOWN_CATEGORY, value)
    if type(value) is not int and type(key) is int:
        notes.add("category ids written as text or with a point are read as numbers", where, value)
    return categories[key]


def _crowd(record: Record, where: str, image: int, notes: Notes) -> int:
    value = record.get("iscrowd", NOTHING)
    if type(value) is int and value in (0, 1):
        return value
    if value is NOTHING or value is None:
        notes.add('no "iscrowd": read as 0, no crowd', where, value, image)
        return 0
    number = int(value) if isinstance(value, bool) else as_whole(value)
    if number not in (0, 1):
        raise UnusableError('"iscrowd" must be 0, or 1 for a crowd', value)
    notes.add('"iscrowd" written as text, with a point or as true and false is read as 0 or 1', where, value, image)
    return number


def _box(record: Record, outline: Any, size: tuple[int, int], where: str, image: int, notes: Notes) -> list[float]:
    """The box in pixels, from the record or from around its outline."""
    value = record.get("bbox", NOTHING)
    if (
        type(value) is list
        and len(value) == 4
        and all(type(side) in (int, float) and abs(side) < LARGEST for side in value)
    ):
        box = value
    elif value is NOTHING or value is None or value == []:
        around = box_around(outline, size)
        if around is None:
            raise UnusableError('has neither a "bbox" nor an outline that it would follow from', value)
        box = around
        notes.add('no "bbox": taken from around the outline', where, value, image)
    else:
        box = _read_box(value)
        notes.add(AS_TEXT, where, value, image)
    if box[2] < 0 or box[3] < 0:
        raise UnusableError("a box of negative width or height; COCO boxes are x, y, width, height", value)
    return box


def _read_box(value: Any) -> list[float]:
    """Four numbers that are written as text, as one text, or in a list within a list."""
    read = value
    if isinstance(read, str):
        try:
            read = json.loads(read)
        except (ValueError, RecursionError):
            read = None
    if isinstance(read, list) and len(read) == 1 and isinstance(read[0], list):
        read = read[0]
    sides = [as_number(side) for side in read] if isinstance(read, list) and len(read) == 4 else []
    if not sides or None in sides:
        raise UnusableError('"bbox" must be four finite numbers, x, y, width, height', value)
    return sides  # type: ignore[return-value]


def _area(
    value: Any, box: list[float], outline: Any, size: tuple[int, int], where: str, image: int, notes: Notes
) -> float:
    """The area as written, of the outline, or of the box."""
    number = as_number(value)
    if number is not None and number >= 0:
        notes.add(AS_TEXT, where, value, image)
        return number
    area, source = area_of(outline, size), "outline"
    if area is None:
        area, source = float(box[2] * box[3]), "box"
    notes.add(f'no usable "area": that of the {source} is taken', where, value, image)
    return min(area, LARGEST - 1)


def _tell_bad(bad: dict[str, list[tuple[str, Any, int | None]]], total: int, notes: Notes) -> None:
    """What cannot be used: left out with a word, or a fault where it is much.

    A category that is not listed is a fault always: the list may begin at 1 and the annotations at 0, and then the
    others have the wrong class.
    """
    much = is_much(sum(map(len, bad.values())), total)
    for reason, cases in bad.items():
        where, value, image = cases[0]
        if much or reason == UNKNOWN_CATEGORY:
            more = f"; {len(cases)} of {total} annotations are so" if total > 1 else ""
            notes.fault(where, value, f"{reason}{more}. Mend or remove them", image)
            continue
        for where, value, image in cases:
            notes.add(f"an annotation is left out: {reason}", where, value, image, warning=True)


def _without_doubles(records: list[Record], joined: set[int], notes: Notes) -> list[Record]:
    """Leave out what is there twice: in a picture that was listed twice, or the same record, word for word."""
    seen: dict[Any, Record] = {}
    kept = []
    for record in records:
        number: Any = record.get("id")
        again = record["image_id"] in joined
        place = (record["image_id"], record["category_id"], *record["bbox"])
        twin = seen.setdefault(number if is_whole(number) and not again else place, record)
        if twin is not record and (again or twin == record):
            where = f"annotation {number}" if is_whole(number) else f"image {record['image_id']}"
            notes.add("an annotation is there twice: one is left out", where, record["bbox"])
        else:
            kept.append(record)
    return kept


def _number_anew(records: list[Record], notes: Notes) -> list[Record]:
    """Annotations with ids that evaluation can tell apart: their own, else 1, 2, 3, ..., since they mean nothing."""
    ids = [record.get("id", NOTHING) for record in records]
    if all(type(number) is int and 0 < number < 2**63 for number in ids) and len(set(ids)) == len(ids):
        return records
    seen: set[Any] = set()
    for number in ids:
        usable = is_whole(number) and number > 0
        if not usable or number in seen:
            why = f"the id {shown(number)} is {'there twice' if usable else 'no whole number above 0'}"
            why = "they have no id" if number is NOTHING else why
            notes.add(f"annotations are numbered anew from 1: {why}", f"{len(records)} annotations")
            break
        seen.add(number)
    return [record | {"id": number} for number, record in enumerate(records, 1)]
