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
from detr_mini.errors import NotFoundError

if TYPE_CHECKING:
    from pycocotools.coco import COCO

Target = dict[str, Tensor]
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]

THINNEST = 0.01  # pixels: a thinner box has no area left once it is flipped or resized in single precision


def find_split(root: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    """The picture folder and the annotation file of ``split``, in Tiny Town's layout or in COCO 2017's.

    Tiny Town has ``root/train/`` and ``root/annotations/instances_train.json``; COCO 2017 has the same names with
    ``2017`` after the split. Whichever annotation file exists decides.

    Raises:
        NotFoundError: neither file is there.
    """
    root = Path(root)
    if found := find_annotations(root, split, "instances"):
        return found
    hint = f"To make Tiny Town there: detr-mini make-data {root}"
    if panoptic := find_annotations(root, split, "panoptic"):
        hint = f"There is {panoptic[1].name}, which is read with --panoptic"
    raise NotFoundError(
        f"no {split} annotations: looked for {root / 'annotations'}/instances_{split}.json and "
        f"instances_{split}2017.json. {hint}"
    )


def find_annotations(root: Path, split: str, kind: str) -> tuple[Path, Path] | None:
    """The picture folder and the file ``annotations/KIND_SPLIT.json``, by either name of the split, if it is there."""
    for name in (split, f"{split}2017"):
        file = root / "annotations" / f"{kind}_{name}.json"
        if file.is_file():
            return root / name, file
    return None


def read_class_names(
    root: str | os.PathLike[str], split: str, find: Callable[..., Sequence[Path]] = find_split
) -> dict[int, str]:
    """Category id to name, as the annotation file of ``split`` has them.

    ``find`` is :func:`find_split`, or :func:`.find_panoptic_split` for things and stuff.

    Raises:
        NotFoundError: there is no such split.
    """
    file = find(root, split)[1]
    return {category["id"]: category["name"] for category in load_json(file)["categories"]}


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

        Raises:
            NotFoundError: there is no such split.
        """
        self.image_folder, annotation_file = find_split(root, split)
        self.coco = to_coco(load_json(annotation_file))
        self.class_names: dict[int, str] = {id: category["name"] for id, category in self.coco.cats.items()}
        self._set_up(sorted(self.coco.imgs), transforms, masks)

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
        image = tv_tensors.Image(read_image(os.path.join(self.image_folder, file_name)))
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
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def to_coco(data: dict[str, Any]) -> "COCO":
    """Annotations as pycocotools holds them. Of ``info`` and the categories only what is used: it copies the rest."""
    from pycocotools.coco import COCO  # here, so that importing the package does not pay for matplotlib

    info = data.get("info", {})
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
