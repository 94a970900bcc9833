"""Read pictures and their objects from a folder in COCO format, real COCO or Tiny Town alike.

Chapter: *Data preparation*, ``book/04_data``.
"""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from detr_mini.data.image import read_image
from detr_mini.data.opened import find_in_layout, open_split
from detr_mini.data.repair_annotations import THINNEST

if TYPE_CHECKING:
    from pycocotools.coco import COCO

Target = dict[str, Tensor]
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]


def find_split(root: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    """The picture folder and the annotation file of ``split``: COCO's, Tiny Town's, and those of other tools.

    Args:
        root: a folder, or one annotation file, whose pictures and whose other splits are looked for around it.
        split: train, val (in files also called valid, validation or dev) or test.

    Raises:
        NotFoundError: there is no such split; the text says what there is.
        DataError: several files could be meant; the text lists them.
    """
    found = find_in_layout(root, split)[1]
    return found.folder, found.file


def find_annotations(root: Path, split: str, kind: str) -> tuple[Path, Path] | None:
    """The picture folder and the file ``annotations/KIND_SPLIT.json``, by either name of the split, if it is there."""
    for name in (split, f"{split}2017"):
        file = root / "annotations" / f"{kind}_{name}.json"
        if file.is_file():
            return root / name, file
    return None


def read_class_names(root: str | os.PathLike[str], split: str) -> dict[int, str]:
    """Category id to name, as :class:`CocoDetection` has them for ``split``.

    Raises:
        NotFoundError: there is no such split.
        DataError: several files could be meant, or the annotations cannot be used.
    """
    return CocoDetection(root, split).class_names


class CocoDetection(Dataset[tuple[Tensor, Target]]):
    """The pictures of one split with their objects.

    Without ``transforms``, item ``i`` is the picture ``ids[i]``, a ``tv_tensors.Image`` (3, H, W) uint8, and its
    target:

    * ``boxes`` (T, 4): ``tv_tensors.BoundingBoxes``, xyxy in pixels, clamped to the picture
    * ``labels`` (T,) int64: category ids as in the file, so ``num_classes`` is the highest id + 1
    * ``area`` (T,): pixels of the original picture, as annotated; ``iscrowd`` (T,) int64: all 0
    * ``image_id`` () int64; ``orig_size`` and ``size`` (2,) int64: height, width
    * ``masks`` (T, H, W) bool ``tv_tensors.Mask``, with ``masks=True``

    Crowds and boxes without area (a side below ``THINNEST``) are left out, as in DETR's training; pictures without
    objects stay: T is 0.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        transforms: Transform | None = None,
        masks: bool = False,
    ) -> None:
        """Read the annotation file of ``split`` under ``root``; pictures are read when asked for.

        What is missing or odd in the file is mended where it can mean one thing only; ``notices`` says what was.

        Raises:
            NotFoundError: there is no such split.
            DataError: several files could be meant, or the annotations cannot be used.
        """
        opened = open_split(root, split)
        data = opened.usable()
        self.image_folder = opened.split.folder
        self.notices = [*opened.layout.notices, *map(str, opened.notes.notices)]
        self.coco = to_coco(data)
        self.class_names: dict[int, str] = {id: category["name"] for id, category in self.coco.cats.items()}
        self._set_up(sorted(self.coco.imgs), transforms, masks)

    notices: list[str]  # what was mended, left out or drawn while reading, a line for each kind

    def _set_up(self, ids: list[int], transforms: Transform | None, masks: bool) -> None:
        self.ids = ids
        self.transforms = transforms
        self.masks = masks
        self.num_classes = max(self.class_names, default=0) + 1
        self.sizes = [(image["height"], image["width"]) for image in map(self._image, ids)]
        # What training needs of the objects, in whole arrays: read once, and shared with worker processes.
        objects = [self._objects(image_id) for image_id in self.ids]
        self._first = np.cumsum([0, *map(len, objects)])  # (images + 1,): where the objects of each picture begin
        flat = [annotation for some in objects for annotation in some]
        self._xywh = np.array([a["bbox"] for a in flat], dtype=np.float32).reshape(-1, 4)
        self._labels = np.array([a["category_id"] for a in flat], dtype=np.int64)
        self._areas = np.array([a["area"] for a in flat], dtype=np.float32)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        file_name = self._image(self.ids[index])["file_name"]
        height, width = self.sizes[index]
        image = tv_tensors.Image(read_image(os.path.join(self.image_folder, file_name), (width, height)))
        target = self._target(index, (image.shape[1], image.shape[2]))
        return (image, target) if self.transforms is None else self.transforms(image, target)

    def _image(self, image_id: int) -> dict[str, Any]:
        return self.coco.imgs[image_id]  # type: ignore[no-any-return]

    def _objects(self, image_id: int) -> list[dict[str, Any]]:
        return [a for a in self.coco.imgToAnns.get(image_id, []) if not a.get("iscrowd")]

    def _target(self, index: int, size: tuple[int, int]) -> Target:
        mine = slice(self._first[index], self._first[index + 1])
        boxes = _clamped_xyxy(self._xywh[mine], size)
        keep = np.all(boxes[:, 2:] - boxes[:, :2] >= THINNEST, axis=1)
        corners = torch.from_numpy(boxes[keep])
        target: Target = {
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size),  # type: ignore[call-overload]
            "labels": torch.from_numpy(self._labels[mine][keep]),
            "area": torch.from_numpy(self._areas[mine][keep]),
            "iscrowd": torch.zeros(len(corners), dtype=torch.int64),
            "image_id": torch.tensor(self.ids[index]),
            "orig_size": torch.tensor(size),
            "size": torch.tensor(size),
        }
        if self.masks:
            annotations = [a for a, kept in zip(self._objects(self.ids[index]), keep.tolist(), strict=True) if kept]
            target["masks"] = self._masks(index, annotations, size)
        return target

    def _masks(self, index: int, annotations: Sequence[dict[str, Any]], size: tuple[int, int]) -> Tensor:
        with warnings.catch_warnings():  # pycocotools has not caught up with NumPy 2
            warnings.simplefilter("ignore", DeprecationWarning)
            masks = [torch.from_numpy(self.coco.annToMask(a)).bool() for a in annotations]
        return tv_tensors.Mask(torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool))


def load_json(path: Path) -> dict[str, Any]:
    """The content of an annotation file."""
    return json.loads(path.read_bytes())  # type: ignore[no-any-return]


def to_coco(data: dict[str, Any]) -> "COCO":
    """Annotations as pycocotools holds them. Of ``info`` and the categories only what is used: it copies the rest."""
    from pycocotools.coco import COCO  # here, so that importing the package does not pay for matplotlib

    info = data.get("info") or {}
    coco = COCO()
    coco.dataset = data | {
        "info": {"area_bins": info["area_bins"]} if "area_bins" in info else {},
        "categories": [{"id": category["id"], "name": category["name"]} for category in data["categories"]],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco.createIndex()
    return coco


def _clamped_xyxy(xywh: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes x, y, width, height (T, 4) to xyxy (T, 4) within a picture of ``size`` (height, width)."""
    height, width = size
    start, sides = xywh[:, :2], xywh[:, 2:]
    corners = np.concatenate([start, start + sides], axis=1)
    return corners.clip(0, np.array([width, height, width, height], dtype=np.float32))
