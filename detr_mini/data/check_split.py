"""What the checks of all annotation files share: JSON, records and their fields, categories, pictures, boxes.

Chapter: *Data preparation*, ``book/04_data``.
"""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from detr_mini.data.annotation_file import read_json
from detr_mini.data.findings import Fault, Notes, shown
from detr_mini.data.image import read_image
from detr_mini.data.repair_annotations import THINNEST
from detr_mini.data.rules import CATEGORY, IMAGE, Rule, is_number, is_whole
from detr_mini.errors import ImageError

OVERSHOOT = 1.0  # pixels a box may reach beyond the picture: rounding in real files; the reader clamps it

Record: TypeAlias = dict[str, Any]
Size: TypeAlias = tuple[int, int]  # width, height


class SplitCheck:
    """Checks one annotation file and its pictures; what it finds is in ``faults``.

    Kinds of annotation files differ in their annotations, which a subclass looks at in ``_annotations``, and in what
    they say of a category, ``category_rules``.
    """

    category_rules = CATEGORY

    def __init__(self, folder: Path, file: Path, images: bool) -> None:
        self.folder = folder
        self.file = file
        self.images = images
        self.faults: list[Fault] = []
        self.categories: dict[int, Record] = {}  # by id, the sound fields of each
        self.counts = (0, 0, 0)  # of images, segments and categories
        self.sizes: dict[int, Size | None] = {}  # of the images, by id; None where they are faulty

    def run(self, first: dict[int, Record]) -> None:
        """Look through the file; ``first`` are the categories of the first split, if there has been one."""
        data = self._load()
        if data is None:
            return
        self._info(data.get("info", {}))
        lists = {key: self._list(data, key) for key in ("images", "annotations", "categories")}
        self._categories(lists["categories"], first)
        self._pictures(lists["images"])
        self._annotations(lists["annotations"])
        segments = sum(len(a["segments_info"]) for a in lists["annotations"] if _has_segments(a))
        self.counts = (len(lists["images"]), segments, len(lists["categories"]))

    def _annotations(self, records: list[Any]) -> None:
        raise NotImplementedError

    def _add(self, where: str, value: Any, problem: str, usable: bool = False) -> None:
        self.faults.append(Fault(str(self.file), where, shown(value), problem, usable))

    def _load(self) -> Record | None:
        """The object in the file, or None."""
        notes = Notes(self.file)
        data = read_json(self.file, notes)
        self.faults += notes.faults
        return data

    def _info(self, info: Any) -> None:
        """Evaluation reads ``info.area_bins``; the rest is for people."""
        if not isinstance(info, dict):
            self._add('"info"', info, "must be an object; mend it or leave it out")
            return
        bins = info.get("area_bins", [1, 2])
        if not (isinstance(bins, list) and len(bins) == 2 and all(map(is_number, bins)) and 0 < bins[0] < bins[1]):
            self._add('"info"', bins, '"area_bins" must be two areas in pixels, the smaller one first; or leave it out')

    def _list(self, data: Record, key: str) -> list[Any]:
        value = data.get(key)
        if key not in data:
            self.faults.append(Fault(str(self.file), "the file", "", f'has no "{key}"; it must be a list'))
        elif not isinstance(value, list):
            self._add(f'"{key}"', value, "must be a list")
        elif not value and key != "annotations":
            self._add(f'"{key}"', value, f"there are no {key}; add at least one")
        return value if isinstance(value, list) else []

    def _records(
        self, records: list[Any], kind: str, plural: str, rules: dict[str, Rule], key: str = "id", within: str = ""
    ) -> Iterable[tuple[str, Record]]:
        """For each record what to call it and its sound fields, after reporting the others and what is repeated.

        ``key`` is the field that tells records apart, ``within`` says of what they are part.
        """
        first: dict[int, int] = {}
        for index, record in enumerate(records):
            where = f"{within}{plural}[{index}]"
            if not isinstance(record, dict):
                self._add(where, record, "must be an object")
                continue
            if is_whole(record.get(key)):
                where = f"{within}{kind} {record[key]}"
                other = first.setdefault(record[key], index)
                if other != index:
                    pair = f"{plural}[{other}] and {plural}[{index}]"
                    self._add(where, record[key], f"two of one {key}: {pair}; remove or mend one")
            yield where, self._sound_fields(record, where, rules)

    def _sound_fields(self, record: Record, where: str, rules: dict[str, Rule]) -> Record:
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

    def _categories(self, records: list[Any], first: dict[int, Record]) -> None:
        for where, category in self._records(records, "category", "categories", self.category_rules):
            if "id" not in category:
                continue
            self.categories[category["id"]] = category
            if first and category["id"] not in first:
                self._add(where, category.get("name", ""), "the first split has no such id; all splits must agree")
            other = first.get(category["id"], {})
            for key in self.category_rules:
                if key in category and key in other and category[key] != other[key]:
                    text = f'the first split has {shown(other[key])} as "{key}" of this id; all splits must agree'
                    self._add(where, category[key], text)

    def _pictures(self, records: list[Any]) -> None:
        for where, image in self._records(records, "image", "images", IMAGE):
            size = (image["width"], image["height"]) if "width" in image and "height" in image else None
            if "file_name" in image:
                self._picture(where, image["file_name"], size, self.folder)
            if "id" in image:
                self.sizes[image["id"]] = size

    def _picture(
        self, where: str, name: str, size: Size | None, folder: Path, read: Callable[[Path], Any] = read_image
    ) -> Any:
        """The pixels ``(..., H, W)`` of a sound picture where they are to be decoded, else None."""
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            self._add(where, name, f'"file_name" must stay within {folder}')
            return None
        try:
            found = os.stat(folder / name)
        except (OSError, ValueError):  # ValueError: a name no file can have
            self._add(where, name, f"there is no such picture in {folder}; put it there or remove the entry")
            return None
        if not stat.S_ISREG(found.st_mode):  # a folder cannot be read, and a pipe would be waited for without end
            self._add(where, name, f"is no file in {folder}; put the picture there or remove the entry")
        elif found.st_size == 0:
            self._add(where, name, f"the picture in {folder} is empty (0 bytes); write it again")
        elif self.images:
            return self._decoded(where, name, size, folder, read)
        return None

    def _decoded(self, where: str, name: str, size: Size | None, folder: Path, read: Callable[[Path], Any]) -> Any:
        try:
            pixels = read(folder / name)
        except ImageError as error:
            self._add(where, name, f"{error}, or remove the entry")
            return None
        height, width = pixels.shape[-2:]
        if size is not None and size != (width, height):
            self._add(where, name, f"the picture is {width} x {height}, this file says {size[0]} x {size[1]}")
            return None
        return pixels

    def _known(self, where: str, record: Record) -> Size | None:
        """Report a category or an image that is in none of the lists; give the size of the image where it is known."""
        category, image = record.get("category_id"), record.get("image_id")
        if category is not None and category not in self.categories:
            self._add(where, category, 'unknown category: no such id in "categories"')
        if image is not None and image not in self.sizes:
            self._add(where, image, 'unknown image: no such id in "images"')
        return None if image is None else self.sizes.get(image)

    def _box(self, where: str, box: list[float], size: Size | None) -> None:
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


def _has_segments(annotation: Any) -> bool:
    return isinstance(annotation, dict) and isinstance(annotation.get("segments_info"), list)
