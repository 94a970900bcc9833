"""Writes drawn scenes as Roboflow exports a data set in COCO format, on request with a few mistakes of a person."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from detr_mini.data.sprites import pick
from detr_mini.data.write_coco import Record, dump_json, save_picture
from detr_mini.errors import ConfigError, FolderInUseError

if TYPE_CHECKING:
    from detr_mini.data.night_harbor import NightScene

Draw = Callable[[int, int, str], "NightScene"]

SPLITS = ("train", "valid", "test")
FIRST_NUMBER = {"train": 0, "valid": 6000, "test": 8000}  # of the four digits in the names of the pictures
ROOM = {"train": 6000, "valid": 2000, "test": 2000}
ANNOTATIONS = "_annotations.coco.json"
MARKER = "night_harbor.json"  # says that this package wrote the folder, what it put there, and which mistakes
PROJECT = "night-harbor"
DATE = "2026-01-01T00:00:00+00:00"
HEAD = {
    "info": {
        "year": "2026",
        "version": "1",
        "description": "Night Harbor: scenes drawn by detr_mini, in the layout of a Roboflow export",
        "contributor": "",
        "url": "",
        "date_created": DATE,
    },
    "licenses": [{"id": 1, "url": "https://www.apache.org/licenses/LICENSE-2.0", "name": "Apache License 2.0"}],
}
KINDS = ("swapped classes", "box too large", "left out")


@dataclass(frozen=True)
class Mistake:
    """A mistake planted in the annotations of one picture, and what would be right.

    ``annotation_ids`` are the ids, in the file as it is written, of the annotations that are wrong: two with each
    other's class, or one whose box is too large, or none where an object was left out. ``truth`` has the category id
    and the box (x, y, w, h) that each of them should have, or those of the object left out.
    """

    kind: str
    file_name: str
    annotation_ids: tuple[int, ...]
    truth: tuple[tuple[int, tuple[int, int, int, int]], ...]


def write_roboflow(
    root: str | os.PathLike[str],
    counts: Mapping[str, int],
    seed: int,
    draw: Draw,
    classes: Sequence[str],
    mistakes: int,
    progress: bool,
) -> tuple[Mistake, ...]:
    """Draw ``counts[split]`` scenes of each split and write them; see ``night_harbor.make_night_data``."""
    root = Path(root)
    for split, count in counts.items():
        if not 0 <= count <= ROOM[split]:
            raise ConfigError(
                f"cannot draw {count} scenes for {split}: the number must lie between 0 and {ROOM[split]}"
            )
    if not 0 <= mistakes <= counts["train"]:
        raise ConfigError(f"mistakes is {mistakes}: it must lie between 0 and the {counts['train']} training scenes")
    _clear(root, counts, seed)
    root.mkdir(parents=True, exist_ok=True)
    head = {"made_by": "detr-mini make-data", "seed": seed, "counts": dict(counts)}
    dump_json(root / MARKER, {**head, "mistakes": []})
    planted: tuple[Mistake, ...] = ()
    for split, count in counts.items():
        if count == 0:
            continue
        (root / split).mkdir(exist_ok=True)
        indices = tqdm(range(count), desc=split, unit="image", disable=not progress)
        records = [_write_scene(root / split, _name(split, seed, i), draw(i, seed, split)) for i in indices]
        chosen = _choose(records, mistakes, seed) if split == "train" else {}
        planted += _write_annotations(root / split / ANNOTATIONS, records, classes, chosen)
    dump_json(root / MARKER, {**head, "mistakes": [asdict(one) for one in planted]})
    return planted


def _name(split: str, seed: int, index: int) -> str:
    """A name as Roboflow gives: that of the picture that was sent in, and 32 digits of its own."""
    digits = hashlib.sha256(f"{PROJECT}/{seed}/{split}/{index}".encode()).hexdigest()[:32]
    return f"harbor-{FIRST_NUMBER[split] + index:04d}_jpg.rf.{digits}.jpg"


def _clear(root: Path, counts: Mapping[str, int], seed: int) -> None:
    """Refuse a folder with someone else's files; take away what an earlier run left and this one does not make."""
    marker = root / MARKER
    old: Record = {"seed": seed, "counts": dict.fromkeys(SPLITS, 0)}
    if marker.is_file():
        old = json.loads(marker.read_text(encoding="utf-8"))
    found = [root / split for split in SPLITS if old["counts"][split] == 0 and (root / split).exists()]
    if found:
        raise FolderInUseError(
            f"{found[0]} exists and was not written by this command; "
            f"give a folder that does not hold {', '.join(SPLITS)} yet"
        )
    for split, count in old["counts"].items():
        new = {_name(split, seed, index) for index in range(counts[split])}
        for name in {_name(split, old["seed"], index) for index in range(count)} - new:
            (root / split / name).unlink(missing_ok=True)
        if counts[split] == 0 and count > 0:
            (root / split / ANNOTATIONS).unlink(missing_ok=True)
            if not any((root / split).iterdir()):
                (root / split).rmdir()


def _write_scene(folder: Path, name: str, scene: NightScene) -> Record:
    save_picture(folder / name, Image.fromarray(scene.image), format="JPEG", quality=90)
    height, width = scene.image.shape[:2]
    image = {"license": 1, "file_name": name, "height": height, "width": width, "date_captured": DATE}
    image["extra"] = {"name": f"{name.split('_jpg')[0]}.jpg"}
    return {"image": image, "objects": [(thing.category_id, thing.bbox) for thing in scene.objects]}


def _write_annotations(
    path: Path, records: Sequence[Record], classes: Sequence[str], chosen: Mapping[int, tuple[str, tuple[int, ...]]]
) -> tuple[Mistake, ...]:
    """Write the file of one split; ``chosen`` says which mistake goes into which picture, at which of its objects."""
    images: list[Record] = []
    annotations: list[Record] = []
    planted: list[Mistake] = []
    for image_id, record in enumerate(records):
        objects = record["objects"]
        if image_id in chosen:
            kind, places = chosen[image_id]
            objects = _spoil(kind, places, record)
            ids = () if kind == KINDS[2] else tuple(len(annotations) + place for place in places)
            truth = tuple(record["objects"][place] for place in places)
            planted.append(Mistake(kind, record["image"]["file_name"], ids, truth))
        images.append({"id": image_id, **record["image"]})
        for category, box in objects:
            head = {"id": len(annotations), "image_id": image_id, "category_id": category, "bbox": list(box)}
            annotations.append({**head, "area": box[2] * box[3], "segmentation": [], "iscrowd": 0})
    categories = [{"id": 0, "name": PROJECT, "supercategory": "none"}]
    categories += [{"id": i, "name": name, "supercategory": PROJECT} for i, name in enumerate(classes, 1)]
    dump_json(path, {**HEAD, "categories": categories, "images": images, "annotations": annotations})
    return tuple(planted)


def _choose(records: Sequence[Record], mistakes: int, seed: int) -> dict[int, tuple[str, tuple[int, ...]]]:
    """The pictures that get a mistake: its kind, and the places of its objects among those of the picture."""
    rng = random.Random(f"{PROJECT}/{seed}/mistakes")
    chosen: dict[int, tuple[str, tuple[int, ...]]] = {}
    for number in range(mistakes):
        kind = KINDS[number % len(KINDS)]
        free = [(i, places) for i, record in enumerate(records) if i not in chosen for places in _places(kind, record)]
        if not free:
            raise ConfigError(
                f"{mistakes} mistakes do not fit into {len(records)} training pictures: "
                f"after {number} there is none left for the kind '{kind}'"
            )
        image, places = pick(rng, free)
        chosen[image] = kind, places
    return chosen


def _places(kind: str, record: Record) -> list[tuple[int, ...]]:
    """Where a mistake of this kind can be seen in a picture: objects, or pairs of them, that are not too small."""
    size = record["image"]["height"] * record["image"]["width"]
    seen = [i for i, (_, box) in enumerate(record["objects"]) if 100 * box[2] * box[3] >= size]
    if kind == KINDS[0]:
        category = [one for one, _ in record["objects"]]
        return [(a, b) for a in seen for b in seen if a < b and category[a] != category[b]]
    boxes = [box for _, box in record["objects"]]
    return [(i,) for i in seen if kind == KINDS[2] or 12 * boxes[i][2] * boxes[i][3] <= size]


def _spoil(kind: str, places: tuple[int, ...], record: Record) -> list[tuple[int, tuple[int, ...]]]:
    """The objects of a picture with the mistake in them."""
    objects = list(record["objects"])
    if kind == KINDS[0]:
        a, b = places
        objects[a], objects[b] = (objects[b][0], objects[a][1]), (objects[a][0], objects[b][1])
    elif kind == KINDS[1]:
        category, (x, y, w, h) = objects[places[0]]
        image = record["image"]
        x0, y0 = max(x - w, 0), max(y - h, 0)
        x1, y1 = min(x + 2 * w, image["width"]), min(y + 2 * h, image["height"])
        objects[places[0]] = category, (x0, y0, x1 - x0, y1 - y0)
    else:
        del objects[places[0]]
    return objects
