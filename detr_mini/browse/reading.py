"""A data set as the page shows it: what can be shown of it, sound or not, and what :func:`.look_through` reports.

Unlike :class:`.CocoDetection`, which refuses what training cannot use, this reads past faults: the page is there to
show them.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_mini.data import look_through
from detr_mini.data.opened import Opened, open_split
from detr_mini.errors import DataError

Record = dict[str, Any]


@dataclass
class Picture:
    """A picture with its annotated objects, crowds among them."""

    split: str
    id: int
    name: str  # of the file, within the folder of its split
    path: Path
    width: int  # as annotated
    height: int
    boxes: NDArray[np.float64]  # (T, 4), xyxy in pixels, as annotated: they may reach out of the picture
    labels: NDArray[np.int64]  # (T,), category ids
    crowd: NDArray[np.bool_]  # (T,)
    words: list[str] = field(default_factory=list)  # what look_through says of it


@dataclass
class DataSet:
    """The pictures of some splits, in the order of the splits and then of the files."""

    root: Path
    splits: list[str]
    class_names: dict[int, str]
    pictures: list[Picture]
    words: list[str]  # what look_through says of the data set as a whole
    mended: list[str]  # what could mean one thing only, or does no harm


def read_data_set(root: str | os.PathLike[str], splits: Sequence[str]) -> DataSet:
    """Read the annotations of ``splits``, mended as in training; no picture is decoded.

    Splits that are not there are left out, and ``words`` says so, as long as there is one.

    Raises:
        NotFoundError: there is none of the splits.
        DataError: no annotation file can be read, or none has a picture that can be shown.
    """
    class_names: dict[int, str] = {}
    pictures: dict[tuple[str, int], Picture] = {}  # by file and id: two splits may share a file, but no picture
    found: list[str] = []
    missing: list[Exception] = []
    for split in splits:
        try:
            opened = open_split(root, split)
        except (FileNotFoundError, DataError) as error:
            missing.append(error)
            continue
        found.append(split)
        class_names |= {id: name for id, name in _categories(opened).items() if id not in class_names}
        pictures |= {(str(opened.split.file), picture.id): picture for picture in _pictures(split, opened)}
    if not found:
        raise missing[0]
    words, mended = _hand_out(root, splits, pictures)
    if not pictures:
        raise DataError(f"nothing to show in {root}:" + "".join(f"\n  {word}" for word in words[:20]))
    return DataSet(Path(root), found, class_names, list(pictures.values()), words, mended)


def _categories(opened: Opened) -> dict[int, str]:
    return {one["id"]: one["name"] for one in (opened.data or {}).get("categories", [])}


def _pictures(split: str, opened: Opened) -> Iterable[Picture]:
    data = opened.data or {"images": [], "annotations": []}
    objects: dict[int, list[Record]] = defaultdict(list)
    for annotation in data["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    return [_picture(split, opened.split.folder, image, objects[image["id"]]) for image in data["images"]]


def _picture(split: str, folder: Path, image: Record, objects: Sequence[Record]) -> Picture:
    boxes = np.array([one["bbox"] for one in objects], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([one["category_id"] for one in objects], dtype=np.int64)
    crowd = np.array([one["iscrowd"] == 1 for one in objects], dtype=bool)
    name = image["file_name"]
    return Picture(split, image["id"], name, folder / name, image["width"], image["height"], boxes, labels, crowd)


def _hand_out(
    root: str | os.PathLike[str], splits: Sequence[str], pictures: dict[tuple[str, int], Picture]
) -> tuple[list[str], list[str]]:
    """Give each picture the words about it; returns those about no picture that is shown, and what was mended."""
    report = look_through(root, splits, images=False)
    others = []
    for fault in report.faults:
        picture = pictures.get((fault.file, fault.image_id)) if fault.image_id is not None else None
        if picture is None:
            others.append(str(fault))
        else:
            found = f" (found {fault.value})" if fault.value else ""
            picture.words.append(f"{fault.where}: {fault.problem}{found}")
    for notice in report.notices:
        keys = {(notice.file, id) for id in notice.image_ids} if notice.warning else set()
        for key in keys & pictures.keys():
            pictures[key].words.append(notice.what)
        if notice.warning and not (keys and keys <= pictures.keys()):
            others.append(str(notice))
    return others, [str(notice) for notice in report.notices if not notice.warning]
