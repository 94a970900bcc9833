"""Find the faults of a COCO folder in one pass, each with file, id and value, before training meets it.

Chapter: *Data preparation*, ``book/04_data``.
"""

import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from reprlib import Repr
from typing import Any

from detr_mini.data.coco import THINNEST, find_split
from detr_mini.data.image import read_image
from detr_mini.data.rules import ANNOTATION, CATEGORY, IMAGE, Rule, is_number, is_polygon, is_whole
from detr_mini.errors import DataError, ImageError

LISTED_FAULTS = 20  # how many faults the text of a DataError spells out
OVERSHOOT = 1.0  # pixels a box may reach beyond the picture: rounding in real files; the reader clamps it

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60
_repr.maxlevel = 2


@dataclass(frozen=True)
class Fault:
    """One fault: in which file, where in it, the value found there, and what is wrong with it.

    ``usable`` marks what training goes on with: boxes without area, which the reader leaves out as DETR's
    own training does, and faulty segmentations, which detection does not read.
    """

    file: str
    where: str
    value: str
    problem: str
    usable: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: {self.problem}" + (f" (found {self.value})" if self.value else "")


def check_data(
    root: str | os.PathLike[str], splits: Sequence[str] = ("train", "val"), images: bool = True
) -> list[Fault]:
    """Every fault of the ``splits`` of a COCO folder; an empty list when it is sound. Never raises on bad data.

    With ``images=False`` the pictures are not decoded: each must be there and not be empty.
    """
    faults: list[Fault] = []
    names: dict[int, str] = {}  # of the categories of the first split that could be read
    for split in splits:
        try:
            folder, file = find_split(root, split)
        except FileNotFoundError as error:
            faults.append(Fault(str(root), f"split {split}", "", str(error)))
            continue
        check = _SplitCheck(folder, file, images)
        check.run(names)
        names = names or check.names
        faults += check.faults
    return faults


def require_sound(
    root: str | os.PathLike[str], splits: Sequence[str] = ("train", "val"), images: bool = False
) -> list[Fault]:
    """Refuse data that cannot be trained on; return the faults that do no harm.

    Pictures are decoded only with ``images=True``: it would hold up every start.

    Raises:
        DataError: lists the first faults that training cannot go on with, their number, and what to do.
    """
    faults = check_data(root, splits, images)
    fatal = [fault for fault in faults if not fault.usable]
    if fatal:
        listed = "\n".join(f"  {fault}" for fault in fatal[:LISTED_FAULTS])
        more = f"\n  and {len(fatal) - LISTED_FAULTS} more" if len(fatal) > LISTED_FAULTS else ""
        raise DataError(
            f"cannot train on {root}: {len(fatal)} fault{'s' if len(fatal) > 1 else ''}\n{listed}{more}\n"
            f"Mend or remove these, then run `detr-mini check-data {root}` until it reports none."
        )
    return faults


class _SplitCheck:
    """Checks one annotation file and its pictures; what it finds is in ``faults``, categories in ``names``."""

    def __init__(self, folder: Path, file: Path, images: bool) -> None:
        self.folder = folder
        self.file = file
        self.images = images
        self.faults: list[Fault] = []
        self.names: dict[int, str] = {}

    def run(self, expected_names: dict[int, str]) -> None:
        data = self._load()
        if data is None:
            return
        self._info(data.get("info", {}))
        lists = {key: self._list(data, key) for key in ("images", "annotations", "categories")}
        categories = self._categories(lists["categories"], expected_names)
        sizes = self._pictures(lists["images"])
        self._annotations(lists["annotations"], sizes, categories)

    def _add(self, where: str, value: Any, problem: str, usable: bool = False) -> None:
        self.faults.append(Fault(str(self.file), where, _repr.repr(value), problem, usable))

    def _load(self) -> dict[str, Any] | None:
        """The object in the file, or None."""
        where, value = "the file", ""
        try:
            text = self.file.read_bytes().decode()
            data = json.loads(text)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            value = _repr.repr(text[error.pos : error.pos + 20])
            problem = f"broken JSON, {error.msg}; mend it there, or write the file again"
        except UnicodeDecodeError as error:
            value = _repr.repr(error.object[error.start : error.start + 20])
            problem = f"cannot be read as JSON, byte {error.start} is not UTF-8 text; write the file again in UTF-8"
        except (OSError, ValueError, RecursionError) as error:  # unreadable, numbers or depth beyond reason
            problem = f"cannot be read as JSON, {error}; write the file again"
        else:
            if isinstance(data, dict):
                return data
            value = _repr.repr(data)
            problem = 'must hold an object with "images", "annotations" and "categories"'
        self.faults.append(Fault(str(self.file), where, value, problem))
        return None

    def _info(self, info: Any) -> None:
        """Evaluation reads ``info.area_bins``; the rest is for people."""
        if not isinstance(info, dict):
            self._add('"info"', info, "must be an object; mend it or leave it out")
            return
        bins = info.get("area_bins", [1, 2])
        if not (isinstance(bins, list) and len(bins) == 2 and all(map(is_number, bins)) and 0 < bins[0] < bins[1]):
            self._add('"info"', bins, '"area_bins" must be two areas in pixels, the smaller one first; or leave it out')

    def _list(self, data: dict[str, Any], key: str) -> list[Any]:
        value = data.get(key)
        if key not in data:
            self.faults.append(Fault(str(self.file), "the file", "", f'has no "{key}"; it must be a list'))
        elif not isinstance(value, list):
            self._add(f'"{key}"', value, "must be a list")
        elif not value and key != "annotations":
            self._add(f'"{key}"', value, f"there are no {key}; add at least one")
        return value if isinstance(value, list) else []

    def _records(
        self, records: list[Any], kind: str, plural: str, rules: dict[str, Rule]
    ) -> Iterable[tuple[str, dict[str, Any]]]:
        """For each record what to call it and its sound fields, after reporting the others and repeated ids."""
        first: dict[int, int] = {}
        for index, record in enumerate(records):
            where = f"{plural}[{index}]"
            if not isinstance(record, dict):
                self._add(where, record, "must be an object")
                continue
            if is_whole(record.get("id")):
                where = f"{kind} {record['id']}"
                other = first.setdefault(record["id"], index)
                if other != index:
                    self._add(where, record["id"], f"two of one id: {plural}[{other}] and {plural}[{index}]")
            yield where, self._sound_fields(record, where, rules)

    def _sound_fields(self, record: dict[str, Any], where: str, rules: dict[str, Rule]) -> dict[str, Any]:
        sound = {}
        for key, rule in rules.items():
            if key not in record:
                self._add(where, sorted(record), f'has no "{key}", which {rule.meaning}')
            elif not rule.holds(record[key]):
                self._add(where, record[key], f'"{key}" {rule.meaning}')
            else:
                sound[key] = record[key]
        if "segmentation" in record:
            sound["segmentation"] = record["segmentation"]
        return sound

    def _categories(self, records: list[Any], expected: dict[int, str]) -> set[int]:
        """The ids that annotations may use."""
        known = set()
        for where, category in self._records(records, "category", "categories", CATEGORY):
            if "id" not in category:
                continue
            known.add(category["id"])
            name = self.names[category["id"]] = category.get("name", "")
            if expected and expected.get(category["id"]) != name:
                other = _repr.repr(expected.get(category["id"]))
                self._add(where, name, f"the first split has {other} under this id; all splits must agree")
        return known

    def _pictures(self, records: list[Any]) -> dict[int, tuple[int, int] | None]:
        """Width and height by image id, None where they are faulty."""
        sizes: dict[int, tuple[int, int] | None] = {}
        for where, image in self._records(records, "image", "images", IMAGE):
            size = (image["width"], image["height"]) if "width" in image and "height" in image else None
            if "file_name" in image:
                self._picture(where, image["file_name"], size)
            if "id" in image:
                sizes[image["id"]] = size
        return sizes

    def _picture(self, where: str, name: str, size: tuple[int, int] | None) -> None:
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            self._add(where, name, f'"file_name" must stay within {self.folder}')
            return
        try:
            found = os.stat(self.folder / name)
        except (OSError, ValueError):  # ValueError: a name no file can have
            self._add(where, name, f"there is no such picture in {self.folder}; put it there or remove the entry")
            return
        if not stat.S_ISREG(found.st_mode):  # a folder cannot be read, and a pipe would be waited for without end
            self._add(where, name, f"is no file in {self.folder}; put the picture there or remove the entry")
        elif found.st_size == 0:
            self._add(where, name, f"the picture in {self.folder} is empty (0 bytes); write it again")
        elif self.images:
            self._decoded(where, name, size)

    def _decoded(self, where: str, name: str, size: tuple[int, int] | None) -> None:
        try:
            height, width = read_image(self.folder / name).shape[1:]
        except ImageError as error:
            self._add(where, name, f"{error}, or remove the entry")
            return
        if size is not None and size != (width, height):
            self._add(where, name, f"the picture is {width} x {height}, this file says {size[0]} x {size[1]}")

    def _annotations(self, records: list[Any], sizes: dict[int, tuple[int, int] | None], categories: set[int]) -> None:
        for where, annotation in self._records(records, "annotation", "annotations", ANNOTATION):
            category, image = annotation.get("category_id"), annotation.get("image_id")
            if category is not None and category not in categories:
                self._add(where, category, 'unknown category: no such id in "categories"')
            if image is not None and image not in sizes:
                self._add(where, image, 'unknown image: no such id in "images"')
            size = sizes.get(image) if image is not None else None
            if "bbox" in annotation:
                self._box(where, annotation["bbox"], size)
            if "segmentation" in annotation:
                self._segmentation(where, annotation["segmentation"], size)

    def _box(self, where: str, box: list[float], size: tuple[int, int] | None) -> None:
        x, y, width, height = box
        if width < 0 or height < 0:
            self._add(where, box, "a box of negative width or height; COCO boxes are x, y, width, height")
        elif width < THINNEST or height < THINNEST:
            self._add(where, box, "a box without area, which training leaves out; remove it", usable=True)
        elif size is not None and not (
            x >= -OVERSHOOT
            and y >= -OVERSHOOT
            and x + width <= size[0] + OVERSHOOT
            and y + height <= size[1] + OVERSHOOT
        ):
            fits = x <= width <= size[0] and y <= height <= size[1]
            hint = ", and this one looks like x, y, x, y" if fits else ""
            text = f"a box outside its picture of {size[0]} x {size[1]}; COCO boxes are x, y, width, height{hint}"
            self._add(where, box, text)

    def _segmentation(self, where: str, value: Any, size: tuple[int, int] | None) -> None:
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
