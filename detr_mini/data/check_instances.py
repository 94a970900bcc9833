"""Judge a split once its annotations are mended: pictures, boxes, outlines, and what it shares with another split.

Chapter: *Data preparation*, ``book/04_data``.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detr_mini.data.findings import NOTHING, Notes
from detr_mini.data.image import Head, head_of, is_annotated_as_stored, read_image
from detr_mini.data.nonsense import boxes_of, nonsense
from detr_mini.data.opened import Opened
from detr_mini.data.repair_annotations import THINNEST
from detr_mini.data.repair_images import is_much
from detr_mini.data.rules import is_polygon
from detr_mini.errors import ImageError

OVERSHOOT = 1.0  # pixels a box may reach beyond the picture: rounding in real files; the reader clamps it
HEAD = 4096  # bytes that tell most pictures apart

Record: TypeAlias = dict[str, Any]


def check_instances(opened: Opened, images: bool) -> None:
    """Judge the mended annotations of a split, and its pictures; what is found goes to its notes.

    Args:
        opened: the split.
        images: decode the pictures; without, each must not be empty.
    """
    data, notes = opened.data, opened.notes
    if data is None:
        return
    sure = not notes.faults  # else what is missing is a fault of its own already
    if not data["images"]:
        if sure:
            notes.fault('"images"', NOTHING, f"no picture is left for {opened.split.name}; it takes at least one")
        return
    _check_pictures(data["images"], opened.split.folder, images, notes)
    sizes = {image["id"]: (image["width"], image["height"]) for image in data["images"]}
    _check_outlines(data["annotations"], sizes, notes)
    if sure:
        _check_objects(data, notes, told=opened.split.name == "train")
    _check_boxes(data["annotations"], sizes, notes)


def _check_pictures(images: list[Record], folder: Path, decode: bool, notes: Notes) -> None:
    for image in images:
        where, name, path = f"image {image['id']}", image["file_name"], folder / image["file_name"]
        try:
            if not decode:
                if os.path.getsize(path) == 0:
                    notes.fault(where, name, f"the picture in {folder} is empty (0 bytes); write it again", image["id"])
                continue
            size = image["width"], image["height"]
            height, width = read_image(path, size).shape[1:]
            head = head_of(path)
        except (ImageError, OSError) as error:
            notes.fault(where, name, f"{error}, or remove the entry", image["id"])
            continue
        if (width, height) == size:
            _tell_turned(head, size, where, image, notes)
        else:
            exchanged = ": width and height are exchanged" if size == (height, width) else ""
            text = f"the picture is {width} x {height}, this file says {size[0]} x {size[1]}{exchanged}"
            notes.fault(where, name, f"{text}. Its boxes may be those of another size; mend the file", image["id"])


def _tell_turned(head: Head, size: tuple[int, int], where: str, image: Record, notes: Notes) -> None:
    """Warn of pictures that EXIF turns, where the boxes may be those of the picture before."""
    if is_annotated_as_stored(head, size):
        what = "EXIF turns these pictures, but width and height are those before: they are read as stored, not turned"
    elif head.orientation in (2, 3, 4):
        what = (
            "EXIF mirrors or turns these pictures by 180 degrees, and nothing tells whether their boxes were drawn "
            "before or after; they are taken for after. Look at one"
        )
    else:
        return
    notes.add(what, where, image["file_name"], image["id"], warning=True)


def _check_outlines(annotations: list[Record], sizes: dict[int, tuple[int, int]], notes: Notes) -> None:
    for annotation in annotations:
        value = annotation.get("segmentation", [])
        if isinstance(value, dict):
            width, height = sizes[annotation["image_id"]]
            sound = value.get("size") == [height, width] and type(value.get("counts")) in (str, list)
        else:
            sound = isinstance(value, list) and all(map(is_polygon, value))
        if not sound:
            what = (
                '"segmentation" must be polygons, each x, y, x, y, ... of three points or more, or run lengths with '
                '"counts" and the "size" of the picture, height first; boxes do without'
            )
            notes.add(what, f"annotation {annotation['id']}", value, annotation["image_id"])


def _check_objects(data: Record, notes: Notes, *, told: bool) -> None:
    """There must be objects, not crowds alone; of which classes there are none is ``told`` of the training split."""
    annotations = data["annotations"]
    counts = Counter(a["category_id"] for a in annotations if not a["iscrowd"])
    if not annotations:
        notes.fault(
            '"annotations"', NOTHING, "there are no objects in any picture, so there is nothing to learn; annotate some"
        )
    elif not counts:
        text = 'every object is a crowd ("iscrowd": 1), and training leaves crowds out; write 0 for single objects'
        notes.fault('"annotations"', f"{len(annotations)} crowds", text)
    elif told and (without := [category["name"] for category in data["categories"] if not counts[category["id"]]]):
        some = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        notes.add(f"no objects here of {len(without)} of {len(data['categories'])} categories: {some}")


def _check_boxes(annotations: list[Record], sizes: dict[int, tuple[int, int]], notes: Notes) -> None:
    if not annotations:
        return
    boxes = np.array([a["bbox"] for a in annotations], dtype=float)
    limits = np.array([sizes[a["image_id"]] for a in annotations], dtype=float)
    if (found := nonsense(boxes_of(annotations, sizes))) and found[1]:
        first = annotations[0]
        notes.fault(f"annotation {first['id']}", first["bbox"], found[0], first["image_id"])
        return
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    thin = np.any(boxes[:, 2:] < THINNEST, axis=1)
    beyond: NDArray[np.bool_] = ~thin & ((low < -OVERSHOOT) | (high > limits + OVERSHOOT)).any(1)
    gone: NDArray[np.bool_] = beyond & ((np.minimum(high, limits) - np.maximum(low, 0)) < THINNEST).any(1)
    if is_much(int(beyond.sum()), len(boxes)):
        _fault_of_boxes(annotations, boxes, limits, beyond, notes)
        return
    if found:
        notes.add(found[0], f"annotation {annotations[0]['id']}", annotations[0]["bbox"], warning=True)
    for what, which in (
        ("a box without area: training leaves it out", thin),
        ("a box outside its picture: training leaves it out", gone),
        ("a box reaches beyond its picture: training cuts it there", beyond & ~gone),
    ):
        for index in np.flatnonzero(which):
            annotation = annotations[index]
            where, warn = f"annotation {annotation['id']}", not thin[index]
            notes.add(what, where, annotation["bbox"], annotation["image_id"], warning=warn)


def _fault_of_boxes(
    annotations: list[Record],
    boxes: NDArray[np.float64],
    limits: NDArray[np.float64],
    beyond: NDArray[np.bool_],
    notes: Notes,
) -> None:
    """So many boxes leave their pictures that they are no boxes of these pictures."""
    example = int(np.flatnonzero(beyond)[0])
    as_corners = np.all((boxes[:, 2:] >= boxes[:, :2]) & (boxes[:, 2:] <= limits + OVERSHOOT), axis=1)
    hint = ", and these look like x, y, x, y: subtract the first corner" if as_corners[beyond].all() else ""
    width, height = (int(side) for side in limits[example])
    text = (
        f"a box outside its picture of {width} x {height}, as are {int(beyond.sum())} of {len(boxes)}; COCO boxes are "
        f"x, y, width, height{hint}"
    )
    annotation = annotations[example]
    notes.fault(f"annotation {annotation['id']}", annotation["bbox"], text, annotation["image_id"])


def compare_splits(first: Opened, other: Opened) -> None:
    """Judge what a split has and the first one, mostly train, has not, or has as well."""
    if first.data is None or other.data is None or first.notes.faults or other.notes.faults:
        return
    notes, known = other.notes, {category["id"]: category["name"] for category in first.data["categories"]}
    there = {a["category_id"] for a in first.data["annotations"] if not a["iscrowd"]}
    here = {a["category_id"] for a in other.data["annotations"] if not a["iscrowd"]}
    for category in other.data["categories"]:
        number, name = category["id"], category["name"]
        where = f"category {number}"
        if number not in known and number in here:
            notes.fault(where, name, f"{first.split.name} has no such category; all splits must agree")
        elif known.get(number, name) != name:
            text = f"{first.split.name} has {known[number]!r} as the name of this id; all splits must agree"
            notes.fault(where, name, text)
        elif number in here - there:
            notes.add(f"classes of which {first.split.name} has no object cannot be learned", where, name, warning=True)
    for name, twin, number in same_pictures(first, other):
        notes.add(
            f"pictures that are in {first.split.name} as well",
            f"image {number}",
            f"{name} = {twin}",
            number,
            warning=True,
        )


def same_pictures(first: Opened, other: Opened) -> Iterable[tuple[str, str, int]]:
    """Pictures of the other split that are in the first one too: their names in both, and their ids."""
    if first.data is None or other.data is None:
        return
    by_size: dict[int, list[Path]] = defaultdict(list)
    for image in first.data["images"]:
        path = first.split.folder / image["file_name"]
        by_size[_size(path)].append(path)
    beginnings: dict[Path, bytes] = {}
    for image in other.data["images"]:
        path = other.split.folder / image["file_name"]
        size = _size(path)
        twins = by_size.get(size, []) if size > 0 else []
        begin = _digest(path, HEAD) if twins else b""
        for twin in twins:
            if twin not in beginnings:
                beginnings[twin] = _digest(twin, HEAD)
            if beginnings[twin] == begin and _digest(twin, None) == _digest(path, None):
                yield image["file_name"], twin.name, image["id"]
                break


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _digest(path: Path, length: int | None) -> bytes:
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read(-1 if length is None else length)).digest()
    except OSError as error:
        return repr((path, error)).encode()
