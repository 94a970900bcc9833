"""Look through a data set in one pass: how it is laid out, what was mended, and its faults with file, id and value.

Chapter: *Data preparation*, ``book/04_data``.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detr_mini.data.check_instances import check_instances, compare_splits
from detr_mini.data.check_panoptic import PanopticCheck
from detr_mini.data.findings import Fault, Notice
from detr_mini.data.opened import LISTED_FAULTS, Opened, open_split
from detr_mini.data.panoptic import find_panoptic_split
from detr_mini.errors import DataError


@dataclass(frozen=True)
class SplitCounts:
    """What there is in a split: where, and how much."""

    name: str
    file: str
    folder: str
    images: int
    objects: int  # crowds are counted too
    classes: int


@dataclass
class Report:
    """What was found in a data set.

    ``layout`` says whose way it is laid out in. ``notices`` are what was mended, left out or is odd, one for each
    kind; ``faults`` are what training cannot go on with, but for those that are ``usable``.
    """

    layout: str = ""
    splits: list[SplitCounts] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def look_through(
    root: str | os.PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    images: bool = True,
    panoptic: bool = False,
) -> Report:
    """All that there is to say of the ``splits`` of a data set. Never raises on bad data.

    Args:
        root: the folder, or one annotation file.
        splits: their names: train, val or test; the first one is what others are compared with.
        images: decode the pictures; without, each must be there and not be empty.
        panoptic: look at the panoptic annotations and their PNG files in place of the instance annotations.
    """
    report = Report()
    first: Any = None
    for split in splits:
        try:
            if panoptic:
                first = _look_through_panoptic(root, split, images, first or {}, report)
            else:
                opened = _look_through_instances(root, split, images, first, report)
                first = first or opened
        except (FileNotFoundError, DataError) as error:
            fault = Fault(str(root), f"split {split}", "", str(error))
            if not any(other.problem == fault.problem for other in report.faults):
                report.faults.append(fault)
    return report


def _look_through_instances(
    root: str | os.PathLike[str], split: str, images: bool, first: Opened | None, report: Report
) -> Opened:
    opened = open_split(root, split)
    check_instances(opened, images)
    if first is not None:
        compare_splits(first, opened)
    report.layout = opened.layout.name
    told = [Notice(str(opened.layout.root), text) for text in opened.layout.notices]
    notices = opened.notes.notices
    if opened.split.drawn and first is not None and first.split.drawn:  # one file: what was mended is told already
        notices = [n for n in notices if n not in first.notes.notices]
    report.notices += [notice for notice in (*told, *notices) if notice not in report.notices]
    report.faults += [fault for fault in opened.notes.faults if fault not in report.faults]
    data = opened.data or {"images": [], "annotations": [], "categories": []}
    counts = (len(data[key]) for key in ("images", "annotations", "categories"))
    report.splits.append(SplitCounts(split, str(opened.split.file), str(opened.split.folder), *counts))
    return opened


def _look_through_panoptic(
    root: str | os.PathLike[str], split: str, images: bool, first: dict[int, dict[str, Any]], report: Report
) -> dict[int, dict[str, Any]]:
    folder, file, segment_folder = find_panoptic_split(root, split)
    check = PanopticCheck(folder, file, segment_folder, images)
    check.run(first)
    report.layout = "COCO's panoptic format"
    report.splits.append(SplitCounts(split, str(file), str(folder), *check.counts))
    report.faults += check.faults
    return first or check.categories


def check_data(
    root: str | os.PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    images: bool = True,
    panoptic: bool = False,
) -> list[Fault]:
    """The faults of a data set; an empty list when it can be trained on. Never raises on bad data.

    The arguments are those of :func:`look_through`, which also tells what was mended.
    """
    return look_through(root, splits, images, panoptic).faults


def require_sound(
    root: str | os.PathLike[str],
    splits: Sequence[str] = ("train", "val"),
    images: bool = False,
    panoptic: bool = False,
) -> Report:
    """Refuse data that cannot be trained on; return what else was found.

    Pictures are decoded only with ``images=True``: it would hold up every start. The arguments are those of
    :func:`look_through`.

    Raises:
        DataError: lists the first faults that training cannot go on with, their number, and what to do.
    """
    report = look_through(root, splits, images, panoptic)
    fatal = [fault for fault in report.faults if not fault.usable]
    if fatal:
        listed = "\n".join(f"  {fault}" for fault in fatal[:LISTED_FAULTS])
        more = f"\n  and {len(fatal) - LISTED_FAULTS} more" if len(fatal) > LISTED_FAULTS else ""
        command = f"detr-mini check-data {root}{' --panoptic' if panoptic else ''}"
        raise DataError(
            f"cannot use {root}: {len(fatal)} fault{'s' if len(fatal) > 1 else ''}\n{listed}{more}\n"
            f"Mend or remove these, then run `{command}` until it reports none."
        )
    return report
