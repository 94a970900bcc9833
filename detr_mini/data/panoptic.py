"""Read pictures whose every pixel has a segment, of a thing or of stuff, from a folder in COCO's panoptic format.

Chapter: *Panoptic segmentation*, ``book/21_panoptic``.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from detr_mini.data.coco import CocoDetection, Transform, find_annotations, load_json, to_coco
from detr_mini.data.image import read_image
from detr_mini.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from pycocotools.coco import COCO

Segments: TypeAlias = dict[str, Any]  # "ids" (H, W) int64, the segment of each pixel, and "segments", a dict for each


def find_panoptic_split(root: str | os.PathLike[str], split: str) -> tuple[Path, Path, Path]:
    """The folder of images, the annotation file and the folder of PNG files of ``split``.

    As Tiny Town has them, ``root/val/``, ``root/annotations/panoptic_val.json`` and ``root/annotations/panoptic_val/``;
    or as COCO 2017 does, with ``2017`` after the split. Whichever annotation file exists decides.

    Raises:
        NotFoundError: neither file is there.
    """
    root = Path(root)
    if found := find_annotations(root, split, "panoptic"):
        return *found, found[1].with_suffix("")
    raise NotFoundError(
        f"no panoptic {split} annotations: looked for {root / 'annotations'}/panoptic_{split}.json and "
        f"panoptic_{split}2017.json, each beside a folder of PNG files of the same name without .json"
    )


def read_segment_ids(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """The segment of each pixel, ``(H, W)``, from a PNG of COCO's panoptic format: R + 256 G + 65,536 B.

    Raises:
        ImageError: the file cannot be read.
    """
    red, green, blue = read_image(path).numpy().astype(np.int64)
    return red + (green << 8) + (blue << 16)  # type: ignore[no-any-return]


def segment_ids_to_image(ids: NDArray[np.integer[Any]]) -> Image.Image:
    """The picture that :func:`read_segment_ids` reads, of ids ``(H, W)`` from 0 to 2^24 - 1."""
    return Image.fromarray((ids[..., None] >> np.array([0, 8, 16]) & 255).astype(np.uint8))


class CocoPanoptic(CocoDetection):
    """The pictures of one split with their segments: things, which are counted, and stuff, which is not.

    Items are those of :class:`.CocoDetection` with ``masks=True``, with every segment for an object: the stuff of a
    kind has one mask and the box around it. Crowds are left out. An image without annotation has no segments.
    """

    def __init__(
        self, root: str | os.PathLike[str], split: str, transforms: Transform | None = None, masks: bool = True
    ) -> None:
        """Read the annotation file of ``split`` under ``root``; images and PNG files are read when asked for.

        Without ``masks``, targets have none, as a detector of things and stuff needs them.

        Raises:
            NotFoundError: there is no such split.
        """
        self.image_folder, self.annotation_file, self.segment_folder = find_panoptic_split(root, split)
        data = load_json(self.annotation_file)
        self.class_names = {category["id"]: category["name"] for category in data["categories"]}
        self.stuff = frozenset(category["id"] for category in data["categories"] if not category["isthing"])
        self._info = data.get("info", {})
        self._images = {image["id"]: image for image in data["images"]}
        self._entries = {entry["image_id"]: entry for entry in data["annotations"]}
        self._set_up(sorted(self._images), transforms, masks)

    @functools.cached_property
    def coco(self) -> "COCO":  # type: ignore[override]
        """The things alone, with boxes and run lengths, as pycocotools holds annotations; made when first asked for."""
        annotations: list[dict[str, Any]] = []
        for index, image_id in enumerate(self.ids):
            things = [s for s in self._segments(image_id) if s["category_id"] not in self.stuff]
            ids = self._segment_ids(index) if things else np.zeros((0, 0))
            for thing in things:
                code = _run_lengths(ids == thing["id"])
                annotations.append({**thing, "image_id": image_id, "id": len(annotations) + 1, "segmentation": code})
        categories = [
            {"id": number, "name": name} for number, name in self.class_names.items() if number not in self.stuff
        ]
        images = list(self._images.values())
        return to_coco({"info": self._info, "images": images, "annotations": annotations, "categories": categories})

    def panoptic(self, index: int) -> Segments:
        """The segments of image ``ids[index]`` as annotated, in the form of :func:`.postprocess_panoptic`.

        Each of ``segments`` has COCO's ``id``, ``category_id``, ``area``, ``bbox`` and ``iscrowd``, and ``isthing``.
        """
        segments = [
            {**segment, "isthing": segment["category_id"] not in self.stuff}
            for segment in self._segments(self.ids[index])
        ]
        return {"ids": torch.from_numpy(self._segment_ids(index)), "segments": segments}

    def _segments(self, image_id: int) -> list[dict[str, Any]]:
        entry = self._entries.get(image_id)
        return [] if entry is None else entry["segments_info"]

    def _objects(self, image_id: int) -> list[dict[str, Any]]:
        return [segment for segment in self._segments(image_id) if not segment.get("iscrowd")]

    def _image(self, image_id: int) -> dict[str, Any]:
        return self._images[image_id]

    def _segment_ids(self, index: int) -> NDArray[np.int64]:
        """The PNG of an image; zeros, no segment anywhere, for an image without annotation.

        Raises:
            DataError: it has another size than the image.
        """
        if self.ids[index] not in self._entries:
            return np.zeros(self.sizes[index], dtype=np.int64)
        path = self.segment_folder / self._entries[self.ids[index]]["file_name"]
        ids = read_segment_ids(path)
        if ids.shape != self.sizes[index]:
            found, wanted = (f"{width} x {height}" for height, width in (ids.shape, self.sizes[index]))
            raise DataError(f"{path} is {found}, but its image {self.ids[index]} is {wanted} in {self.annotation_file}")
        return ids

    def _masks(self, index: int, annotations: Sequence[dict[str, Any]], size: tuple[int, int]) -> Tensor:
        if not annotations:
            return tv_tensors.Mask(torch.zeros(0, *size, dtype=torch.bool))
        ids = torch.from_numpy(self._segment_ids(index))
        return tv_tensors.Mask(torch.stack([ids == segment["id"] for segment in annotations]))


def _run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    from pycocotools import mask as rle

    return rle.encode(np.asfortranarray(mask, dtype=np.uint8))  # type: ignore[no-any-return]
