"""Writes drawn scenes as a COCO data set: images, instance annotations and panoptic annotations."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from tqdm import tqdm

from detr_mini.data.panoptic import segment_ids_to_image
from detr_mini.errors import ConfigError, FolderInUseError
from detr_mini.files import write_atomically

if TYPE_CHECKING:
    from detr_mini.data.tiny_town import Category, Scene

Draw = Callable[[int, str, int], "Scene"]
Record = dict[str, Any]

FIRST_ID = {"train": 1, "val": 1_000_001}  # image ids differ between splits whatever their sizes
CHUNK = 25  # images a worker draws before it reports
MARKER = "tiny_town.json"  # says that this command wrote the folder, and what it put there

NOMINAL_AREA = 128 * 96
AREA_BINS = [round(0.01 * NOMINAL_AREA), round(0.06 * NOMINAL_AREA)]
INFO = {
    "description": "Tiny Town: street scenes drawn by detr_mini",
    "version": "1",
    "year": 2026,
    "contributor": "detr_mini",
    # COCO calls an object small below 32 x 32 pixels, which here would be nearly all of them. These bounds part small,
    # medium and large at 1 % and 6 % of a nominal 128 x 96 picture instead.
    "area_bins": AREA_BINS,
}
LICENSES = [{"id": 1, "name": "Apache License 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}]


def write_coco(
    root: str | os.PathLike[str],
    counts: Mapping[str, int],
    seed: int,
    draw: Draw,
    categories: Sequence[Category],
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Draw ``counts[split]`` scenes of each split and writes them under ``root``; see ``tiny_town.make_data``."""
    root = Path(root)
    if any(not 0 <= count < FIRST_ID["val"] for count in counts.values()):
        raise ConfigError(
            f"cannot draw {dict(counts)} scenes: each number must lie between 0 and {FIRST_ID['val'] - 1}"
        )
    _clear(root, counts)
    root.mkdir(parents=True, exist_ok=True)
    dump_json(root / MARKER, {"made_by": "detr-mini make-data", "seed": seed, "counts": dict(counts)})
    for split, count in counts.items():
        for folder in (root / split, root / "annotations" / f"panoptic_{split}"):
            folder.mkdir(parents=True, exist_ok=True)
        job = partial(_write_chunk, root, split, seed, draw)
        records = list(tqdm(_each(job, count, workers), total=count, desc=split, unit="image", disable=not progress))
        _write_json(root, split, records, categories)


def _clear(root: Path, counts: Mapping[str, int]) -> None:
    """Refuse a folder that holds someone else's files; takes away images that an earlier, larger run left."""
    ours = [root / s for s in counts] + [
        root / "annotations" / f"{k}_{s}.json" for k in ("instances", "panoptic") for s in counts
    ]
    ours += [root / "annotations" / f"panoptic_{s}" for s in counts]
    found = [path for path in ours if path.exists()]
    marker = root / MARKER
    if not marker.is_file():
        if found:
            raise FolderInUseError(
                f"{found[0]} exists and was not written by this command; "
                f"give a folder that does not hold {', '.join(sorted(counts))} or annotations of that name yet"
            )
        return
    for split, count in json.loads(marker.read_text(encoding="utf-8"))["counts"].items():
        for index in range(counts.get(split, 0), count):
            for path in _paths(root, split, index):
                path.unlink(missing_ok=True)


def _paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    name = f"{FIRST_ID[split] + index:012d}"
    return root / split / f"{name}.jpg", root / "annotations" / f"panoptic_{split}" / f"{name}.png"


def _each(job: Callable[[range], list[Record]], count: int, workers: int | None) -> Iterator[Record]:
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers <= 1:
        for chunk in chunks:
            yield from job(chunk)
        return
    # Spawned, not forked: the parent may already run the threads of torch, which a fork would leave in a broken state.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for records in pool.map(job, chunks):
            yield from records


def _write_chunk(root: Path, split: str, seed: int, draw: Draw, indices: range) -> list[Record]:
    return [_write_scene(root, split, index, draw(index, split, seed)) for index in indices]


def _write_scene(root: Path, split: str, index: int, scene: Scene) -> Record:
    """Write one image and its panoptic map; returns its entries in the two annotation files."""
    image_path, panoptic_path = _paths(root, split, index)
    image_id, (width, height) = FIRST_ID[split] + index, scene.image.size
    save_picture(image_path, scene.image, format="JPEG", quality=92, subsampling=0)
    save_picture(panoptic_path, segment_ids_to_image(scene.segments), format="PNG")
    annotations = [
        {
            "image_id": image_id,
            "category_id": thing.category_id,
            "bbox": list(thing.bbox),
            "area": thing.area,
            "iscrowd": thing.iscrowd,
            "segmentation": _encode(scene.segments == thing.segment_id),
        }
        for thing in scene.objects
    ]
    segments = [
        {"id": s.segment_id, "category_id": s.category_id, "area": s.area, "bbox": list(s.bbox), "iscrowd": s.iscrowd}
        for s in (*scene.objects, *scene.stuff)
    ]
    return {
        "image": {"id": image_id, "file_name": image_path.name, "width": width, "height": height, "license": 1},
        "annotations": annotations,
        "panoptic": {"image_id": image_id, "file_name": panoptic_path.name, "segments_info": segments},
    }


def _encode(mask: np.ndarray) -> Record:
    code = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def _write_json(root: Path, split: str, records: Sequence[Record], categories: Sequence[Category]) -> None:
    head = {"info": INFO, "licenses": LICENSES, "images": [record["image"] for record in records]}
    loose = [annotation for record in records for annotation in record["annotations"]]
    first = FIRST_ID[split] * 100  # annotation ids differ between splits too, as no scene holds a hundred objects
    annotations = [{"id": first + i, **annotation} for i, annotation in enumerate(loose)]
    named = [{"id": c.id, "name": c.name, "supercategory": c.supercategory} for c in categories if c.isthing]
    dump_json(
        root / "annotations" / f"instances_{split}.json",
        {**head, "annotations": annotations, "categories": named},
    )
    full = [
        {"id": c.id, "name": c.name, "supercategory": c.supercategory, "isthing": c.isthing, "color": list(c.colour)}
        for c in categories
    ]
    panoptic = [record["panoptic"] for record in records]
    dump_json(
        root / "annotations" / f"panoptic_{split}.json",
        {**head, "annotations": panoptic, "categories": full},
    )


def dump_json(path: Path, content: object) -> None:
    """Write a whole JSON file or nothing."""
    write_atomically(path, json.dumps(content).encode())


def save_picture(path: Path, image: Image.Image, **options: Any) -> None:
    """Write a whole picture or nothing; ``options`` are those of Pillow."""
    # Without waiting for the disk, file by file: a picture that a power cut spoils is drawn again by the same command.
    part = path.with_name(path.name + ".part")
    image.save(part, **options)
    os.replace(part, path)
