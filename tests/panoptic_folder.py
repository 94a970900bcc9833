"""A panoptic folder written by hand, laid out as COCO 2017 is: other sizes, classes and ids than Tiny Town's."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_mini.data.panoptic import segment_ids_to_image

Data = dict[str, Any]

CATEGORIES = [
    {"supercategory": "person", "color": [220, 20, 60], "isthing": 1, "id": 1, "name": "person"},
    {"supercategory": "animal", "color": [255, 179, 240], "isthing": 1, "id": 17, "name": "cat"},
    {"supercategory": "sky", "color": [70, 130, 180], "isthing": 0, "id": 187, "name": "sky-other-merged"},
    {"supercategory": "plant", "color": [152, 251, 152], "isthing": 0, "id": 193, "name": "grass-merged"},
]
COLORS = {category["id"]: category["color"] for category in CATEGORIES}
SKY, GRASS, CAT, PERSON, CROWD = 3226956, 7, 256, 65536, 2**24 - 1  # segment ids: of one byte, two and three


def segment(ids: np.ndarray, number: int, category: int, iscrowd: int = 0) -> Data:
    """The entry of a segment, measured in the ids ``(H, W)``."""
    rows, columns = np.nonzero(ids == number)
    x, y = int(columns.min()), int(rows.min())
    box = [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]
    return {"id": number, "category_id": category, "iscrowd": iscrowd, "bbox": box, "area": len(rows)}


def add_image(
    root: Path, data: Data, image_id: int, ids: np.ndarray, segments: Sequence[Data], split: str = "val2017"
) -> None:
    """Write an image, each segment in the color of its class, with its PNG file; put both into ``data``."""
    height, width = ids.shape
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for one in segments:
        pixels[ids == one["id"]] = COLORS[one["category_id"]]
    for path in (root / split, png(root, image_id, split).parent):
        path.mkdir(parents=True, exist_ok=True)
    name = f"{image_id:012d}"
    Image.fromarray(pixels).save(root / split / f"{name}.jpg", quality=95, subsampling=0)
    segment_ids_to_image(ids).save(png(root, image_id, split))
    data["images"].append({"id": image_id, "file_name": f"{name}.jpg", "width": width, "height": height, "license": 3})
    data["annotations"].append({"segments_info": list(segments), "file_name": f"{name}.png", "image_id": image_id})


def png(root: Path, image_id: int, split: str = "val2017") -> Path:
    return root / "annotations" / f"panoptic_{split}" / f"{image_id:012d}.png"


def save(root: Path, data: Data, split: str = "val2017") -> None:
    """Write the annotation file."""
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(data))


def empty() -> Data:
    return {
        "info": {"year": 2018},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": [dict(c) for c in CATEGORIES],
    }


def write_folder(root: Path, split: str = "val2017") -> Data:
    """Three images, and what their annotation file says.

    285, 25 x 50: a cat, sky, a crowd. 139, 40 x 30: sky, a cat in two pieces, grass, a person, and pixels of no
    segment. 632, 33 x 21: no segment at all.
    """
    data = empty()
    ids = np.full((50, 25), SKY)
    ids[10:30, 5:20] = 9
    ids[30:45, :] = CROWD
    segments = [segment(ids, 9, 17), segment(ids, SKY, 187), segment(ids, CROWD, 1, iscrowd=1)]
    add_image(root, data, 285, ids, segments, split)
    ids = np.full((30, 40), SKY)
    ids[15:] = GRASS
    ids[10:14, 2:12] = ids[16:25, 4:9] = CAT
    ids[8:28, 20:26] = PERSON
    ids[-2:] = 0
    kinds = {SKY: 187, CAT: 17, GRASS: 193, PERSON: 1}
    add_image(root, data, 139, ids, [segment(ids, number, kind) for number, kind in kinds.items()], split)
    add_image(root, data, 632, np.zeros((21, 33), dtype=np.int64), [], split)
    save(root, data, split)
    return data
