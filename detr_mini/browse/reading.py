"""A data set as the page shows it: whatever can be shown of it, sound or not, and what :func:`.check_data` reports.

Unlike :class:`.CocoDetection`, which refuses what training cannot use, this reads past faults: the page is there to
show them. It is the only place of this package that knows how a data set is stored.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_mini.data import Fault, check_data, find_split
from detr_mini.data.coco import load_json
from detr_mini.data.image import image_size
from detr_mini.data.rules import LARGEST, is_number, is_whole
from detr_mini.errors import DataError, ImageError

PLACE = re.compile(r"(image|annotation) (-?\d+)|(image|annotation)s\[(\d+)\]")  # of a fault: by id, or by number


@dataclass
class Picture:
    """A picture with its annotated objects, crowds among them."""

    split: str
    id: int | str
    name: str  # of the file, within the folder of its split
    path: Path | None  # None where the name leads out of that folder
    width: int  # as annotated, or of the file where that is not said
    height: int
    boxes: NDArray[np.float64]  # (T, 4), xyxy in pixels, as annotated: they may reach out of the picture
    labels: NDArray[np.int64]  # (T,), category ids
    crowd: NDArray[np.bool_]  # (T,)
    words: list[str] = field(default_factory=list)  # what check_data says of it


@dataclass
class DataSet:
    """The pictures of some splits, in the order of the splits and then of the files."""

    root: Path
    splits: list[str]
    class_names: dict[int, str]
    pictures: list[Picture]
    words: list[str]  # what check_data says of the data set as a whole


def read_data_set(root: str | os.PathLike[str], splits: Sequence[str]) -> DataSet:
    """Read the annotations of ``splits``; no picture is decoded.

    Splits that are not there are left out, and ``words`` says so, as long as there is one.

    Raises:
        NotFoundError: there is none of the splits.
        DataError: no annotation file can be read as JSON, or none has a picture that can be shown.
    """
    root = Path(root)
    faults = check_data(root, splits, images=False)
    found: list[tuple[str, Path, Path]] = []
    missing: list[Exception] = []
    for split in splits:
        try:
            found.append((split, *find_split(root, split)))
        except (FileNotFoundError, DataError) as error:
            missing.append(error)
    if not found:
        raise missing[0]
    class_names: dict[int, str] = {}
    pictures: list[Picture] = []
    files: dict[str, _Places] = {}
    for split, folder, file in found:
        data = _content(file)
        class_names |= {id: name for id, name in _categories(data).items() if id not in class_names}
        mine = _pictures(split, folder, data)
        files[str(file)] = _Places(data, mine)
        pictures += mine.values()
    words = _hand_out(faults, files)
    if not pictures:
        raise DataError(f"nothing to show in {root}:" + "".join(f"\n  {word}" for word in words[:20]))
    for label in sorted({int(label) for picture in pictures for label in picture.labels} - set(class_names)):
        class_names[label] = f"{label} (no name)"
    return DataSet(root, [split for split, *_ in found], class_names, pictures, words)


def _content(file: Path) -> dict[str, Any]:
    """The object in a file, or an empty one: check_data has said why."""
    try:
        data = load_json(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _records(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list, with an empty one in place of what is none."""
    records = data.get(key)
    return [one if isinstance(one, dict) else {} for one in records] if isinstance(records, list) else []


def _categories(data: dict[str, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for one in _records(data, "categories"):
        id, name = one.get("id"), one.get("name")
        if isinstance(id, int) and is_whole(id) and isinstance(name, str):
            names.setdefault(id, name)
    return names


def _pictures(split: str, folder: Path, data: dict[str, Any]) -> dict[int | str, Picture]:
    """By id, those whose size is known from their record or from their file."""
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in _records(data, "annotations"):
        image, box = annotation.get("image_id"), annotation.get("bbox")
        is_box = isinstance(box, list) and len(box) == 4 and all(map(is_number, box))
        if isinstance(image, int | str) and is_box and is_whole(annotation.get("category_id")):
            objects[image].append(annotation)
    pictures: dict[int | str, Picture] = {}
    for record in _records(data, "images"):
        id, name = record.get("id"), record.get("file_name")
        if isinstance(id, int | str) and isinstance(name, str) and id not in pictures:
            path = _path(folder, name)
            if size := _size(record, path):
                pictures[id] = _picture(split, id, name, path, size, objects[id])
    return pictures


def _picture(
    split: str, id: int | str, name: str, path: Path | None, size: tuple[int, int], objects: Iterable[dict[str, Any]]
) -> Picture:
    mine = list(objects)
    boxes = np.array([one["bbox"] for one in mine], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([one["category_id"] for one in mine], dtype=np.int64)
    crowd = np.array([one.get("iscrowd") == 1 for one in mine], dtype=bool)
    return Picture(split, id, name, path, *size, boxes, labels, crowd)


def _path(folder: Path, name: str) -> Path | None:
    parts = PurePath(name)
    return None if parts.is_absolute() or ".." in parts.parts or "\0" in name else folder / name


def _size(record: dict[str, Any], path: Path | None) -> tuple[int, int] | None:
    """Width and height."""
    width, height = record.get("width"), record.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and 1 <= min(width, height) < LARGEST:
        return int(width), int(height)
    try:
        return image_size(path)[::-1] if path else None
    except ImageError:
        return None


class _Places:
    """Where the faults of an annotation file belong: which picture an id, or a place in a list, means."""

    def __init__(self, data: dict[str, Any], pictures: dict[int | str, Picture]) -> None:
        images, annotations = _records(data, "images"), _records(data, "annotations")
        of_images = [one.get("id") for one in images]
        of_annotations = [one.get("image_id") for one in annotations]
        self.numbered = {"image": of_images, "annotation": of_annotations}
        self.named: dict[str, dict[Any, Any]] = {
            "image": {id: id for id in of_images if isinstance(id, int | str)},
            "annotation": {
                one["id"]: image
                for one, image in zip(annotations, of_annotations, strict=True)
                if isinstance(one.get("id"), int | str)
            },
        }
        self.pictures = pictures

    def find(self, where: str) -> Picture | None:
        """The picture that is meant by such as ``annotation 17`` or ``images[3]``."""
        found = PLACE.match(where)
        if found is None:
            return None
        kind, id, list_kind, number = found.groups()
        if kind:
            image = self.named[kind].get(int(id))
        else:
            listed = self.numbered[list_kind]
            image = listed[int(number)] if int(number) < len(listed) else None
        return self.pictures.get(image) if isinstance(image, int | str) else None


def _hand_out(faults: Sequence[Fault], files: dict[str, _Places]) -> list[str]:
    """Give each picture the words about it; returns the words about no picture that can be shown."""
    others = []
    for fault in faults:
        places = files.get(fault.file)
        picture = places.find(fault.where) if places else None
        if picture is None:
            others.append(str(fault))
        else:
            found = f" (found {fault.value})" if fault.value else ""
            picture.words.append(f"{fault.where}: {fault.problem}{found}")
    return others
