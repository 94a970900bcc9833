"""What is trained on data of your own where nothing says otherwise, and what the data says about it.

Chapter: *Training*, ``book/14_train``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_mini.data import CATEGORIES, DetectionDataset
from detr_mini.modeling.config import CONFIGS

START = "deformable_nano"  # the shipped weights that photographs begin with
PHOTO = CONFIGS["photo"]
LARGEST = 384  # pixels: the long side for data with small objects
SEEN = 10.0  # pixels: the side that all but a tenth of the objects should have, a little more than a cell
ROOM = 1.5  # queries for each object of the fullest image, as the published 100 for COCO's 63


@dataclass(frozen=True)
class Figures:
    """What a data set holds, as far as training depends on it."""

    images: int
    classes: int  # that have an object
    objects: int
    most: int  # objects of an image
    longest: int  # side of an image, in pixels
    smallest: float  # side of an object as a share of its image's long side; a tenth of the objects are smaller

    @classmethod
    def of(cls, dataset: DetectionDataset) -> "Figures":
        """The figures of the objects that are trained on: no crowds."""
        objects = [one for one in dataset.coco.anns.values() if not one.get("iscrowd")]
        images, counts = dataset.coco.imgs, dict.fromkeys(dataset.coco.imgs, 0)
        shares = []
        for one in objects:
            counts[one["image_id"]] += 1
            image = images[one["image_id"]]
            area = max(0.0, one["bbox"][2]) * max(0.0, one["bbox"][3])
            shares.append(math.sqrt(area) / max(image.get("width", 0), image.get("height", 0), 1))
        return cls(
            images=len(dataset),
            classes=len({one["category_id"] for one in objects}),
            objects=len(objects),
            most=max(counts.values(), default=0),
            longest=max((max(size) for size in dataset.sizes), default=0),
            smallest=float(np.quantile(shares, 0.1)) if shares else 1.0,
        )


def is_tiny_town(class_names: Mapping[int, str]) -> bool:
    """Whether these are Tiny Town's classes, whose models are trained from random weights, as the book says."""
    town = {one.id: one.name for one in CATEGORIES}
    return all(town.get(number) == name for number, name in class_names.items())


def fitting(figures: Figures) -> dict[str, Any]:
    """The fields of the config ``photo`` that follow from the data: ``max_size`` and ``num_queries``.

    The long side is 256 to 384 pixels, in steps of 32, so that all but the smallest tenth of the objects have a side of
    ``SEEN``; but no more than the images have.
    """
    wanted = 32 * math.ceil(SEEN / max(figures.smallest, 1e-3) / 32)
    size = min(max(PHOTO.max_size, min(wanted, LARGEST)), max(figures.longest, 32))
    queries = max(PHOTO.num_queries, 25 * math.ceil(ROOM * figures.most / 25))
    return {"max_size": size, "num_queries": queries}


def several(number: int, what: str, many: str | None = None) -> str:
    """A number of things: "1 image", "1,200 images"."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def describe(figures: Figures, num_queries: int) -> list[str]:
    """What is trained on, a line or two."""
    lines = [
        f"{several(figures.images, 'image')} with {several(figures.objects, 'object')} of "
        f"{several(figures.classes, 'class', 'classes')} to train on, at most {figures.most} in an image, for "
        f"{num_queries} queries"
    ]
    if figures.most > num_queries:
        wanted = 25 * math.ceil(ROOM * figures.most / 25)
        lines.append(
            f"an image has {figures.most} objects and the model {num_queries} queries, each of which finds one at "
            f"most: --set config.num_queries={wanted}"
        )
    return lines
