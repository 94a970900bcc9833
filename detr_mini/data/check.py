"""Find the faults of a COCO folder in one pass, each with file, id and value, before training meets it.

Chapter: *Data preparation*, ``book/04_data``.
"""

import os
from collections.abc import Sequence
from typing import Any

from detr_mini.data.check_panoptic import PanopticCheck
from detr_mini.data.check_split import Fault, Record, Size, SplitCheck
from detr_mini.data.coco import find_split
from detr_mini.data.panoptic import find_panoptic_split
from detr_mini.data.rules import ANNOTATION, is_polygon
from detr_mini.errors import DataError

LISTED_FAULTS = 20  # how many faults the text of a DataError spells out


def check_data(
    root: str | os.PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    images: bool = True,
    panoptic: bool = False,
) -> list[Fault]:
    """Every fault of the ``splits`` of a COCO folder; an empty list when it is sound. Never raises on bad data.

    Args:
        root: the folder.
        splits: their names, such as "val"; each may be as in Tiny Town or, with ``2017`` after it, as in COCO.
        images: decode the pictures; without, each must be there and not be empty.
        panoptic: look at the panoptic annotations and their PNG files in place of the instance annotations.
    """
    faults: list[Fault] = []
    first: dict[int, Record] = {}  # the categories of the first split that could be read
    for split in splits:
        try:
            check = _split_check(root, split, images, panoptic)
        except FileNotFoundError as error:
            faults.append(Fault(str(root), f"split {split}", "", str(error)))
            continue
        check.run(first)
        first = first or check.categories
        faults += check.faults
    return faults


def require_sound(
    root: str | os.PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    images: bool = False,
    panoptic: bool = False,
) -> list[Fault]:
    """Refuse data that cannot be trained on; return the faults that do no harm.

    Pictures are decoded only with ``images=True``: it would hold up every start. The arguments are those of
    :func:`check_data`.

    Raises:
        DataError: lists the first faults that training cannot go on with, their number, and what to do.
    """
    faults = check_data(root, splits, images, panoptic)
    fatal = [fault for fault in faults if not fault.usable]
    if fatal:
        listed = "\n".join(f"  {fault}" for fault in fatal[:LISTED_FAULTS])
        more = f"\n  and {len(fatal) - LISTED_FAULTS} more" if len(fatal) > LISTED_FAULTS else ""
        command = f"detr-mini check-data {root}{' --panoptic' if panoptic else ''}"
        raise DataError(
            f"cannot train on {root}: {len(fatal)} fault{'s' if len(fatal) > 1 else ''}\n{listed}{more}\n"
            f"Mend or remove these, then run `{command}` until it reports none."
        )
    return faults


def _split_check(root: str | os.PathLike[str], split: str, images: bool, panoptic: bool) -> SplitCheck:
    if panoptic:
        folder, file, segment_folder = find_panoptic_split(root, split)
        return PanopticCheck(folder, file, segment_folder, images)
    return _InstanceCheck(*find_split(root, split), images)


class _InstanceCheck(SplitCheck):
    """Checks instance annotations: an object each, with its box and perhaps its segmentation."""

    def _annotations(self, records: list[Any]) -> None:
        for where, annotation in self._records(records, "annotation", "annotations", ANNOTATION):
            size = self._known(where, annotation)
            if "bbox" in annotation:
                self._box(where, annotation["bbox"], size)
            if "segmentation" in annotation:
                self._segmentation(where, annotation["segmentation"], size)

    def _segmentation(self, where: str, value: Any, size: Size | None) -> None:
        if isinstance(value, dict):
            expected = value.get("size") if size is None else [size[1], size[0]]
            sound = value.get("size") == expected and type(value.get("counts")) in (str, list)
        else:
            sound = isinstance(value, list) and all(map(is_polygon, value))
        if not sound:
            self._add(
                where,
                value,
                '"segmentation" must be polygons, each x, y, x, y, ... of three points or more, or run lengths '
                'with "counts" and the "size" of the picture, height first',
                usable=True,
            )
