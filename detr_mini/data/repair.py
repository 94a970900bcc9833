"""Mend annotation files where what is missing or odd can mean one thing only, and say what was mended.

A sound file comes through as it is. Chapter: *Data preparation*, ``book/04_data``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from detr_mini.data.annotation_file import info_of, lists_of, read_json
from detr_mini.data.categories import mend_categories
from detr_mini.data.findings import Notes
from detr_mini.data.repair_annotations import mend_annotations
from detr_mini.data.repair_images import mend_images, turn_sizes

Record: TypeAlias = dict[str, Any]


class Mended(NamedTuple):
    """An annotation file as it can be used; ``data`` is None where nothing of it can. ``notes`` has what was found."""

    data: Record | None
    notes: Notes


def read_mended(
    file: Path, folder: Path, others: Sequence[list[Any]] = (), *, follows: bool = False, shared: bool = False
) -> Mended:
    """Read an annotation file and mend it; see :func:`mend`."""
    notes = Notes(file)
    data = read_json(file, notes)
    if data is not None:
        data = mend(data, folder, notes, others, follows=follows, shared=shared)
    return Mended(data, notes)


def mend(
    data: Record,
    folder: Path,
    notes: Notes,
    others: Sequence[list[Any]] = (),
    *,
    follows: bool = False,
    shared: bool = False,
) -> Record:
    """The content of an annotation file with everything that training and evaluation read.

    Args:
        data: the content; it is not changed.
        folder: where its pictures are.
        notes: takes what was mended, what was left out, and what is wrong.
        others: the categories of the other splits.
        follows: the first of them is the training split, whose ids of categories count.
        shared: the file serves other folders as well, so pictures may be missing in this one.
    """
    lists = lists_of(data, notes)
    info = info_of(data, notes)
    categories, numbers = mend_categories(lists["categories"], others, notes, follows=follows)
    images = mend_images(lists["images"], folder, notes, shared=shared)
    annotations = mend_annotations(lists["annotations"], images, numbers, notes)
    reach: dict[int, tuple[float, float]] = {}
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        right, down = reach.get(annotation["image_id"], (0, 0))
        reach[annotation["image_id"]] = max(right, x + width), max(down, y + height)
    records = turn_sizes(images.records, reach, folder, notes)
    mended = {"images": records, "annotations": annotations, "categories": categories}
    return data | mended | ({"info": info} if "info" in data else {})
