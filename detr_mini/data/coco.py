"""Read pictures and their objects from a folder in COCO format, real COCO or Tiny Town alike.

Book: the chapter on data preparation.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from detr_mini.nested_tensor import NestedTensor

if TYPE_CHECKING:
    from pycocotools.coco import COCO

Target = dict[str, Tensor]
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]


def find_split(root: str | os.PathLike[str], split: str) -> tuple[Path, Path]:
    """The picture folder and the annotation file of ``split``, in Tiny Town's layout or in COCO 2017's.

    Tiny Town has ``root/train/`` and ``root/annotations/instances_train.json``; COCO 2017 has the same names with
    ``2017`` after the split. Whichever annotation file exists decides.

    Raises:
        FileNotFoundError: neither file is there.
    """
    root = Path(root)
    for name in (split, f"{split}2017"):
        annotations = root / "annotations" / f"instances_{name}.json"
        if annotations.is_file():
            return root / name, annotations
    raise FileNotFoundError(
        f"no {split} annotations: looked for {root / 'annotations'}/instances_{split}.json and "
        f"instances_{split}2017.json. To make Tiny Town there: python -m detr_mini make-data {root}"
    )


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read a picture file as RGB, (3, H, W) uint8, turned upright as its EXIF data says.

    Raises:
        ValueError: the file is missing, empty, truncated or no picture.
    """
    try:
        with Image.open(path) as file:
            ImageOps.exif_transpose(file, in_place=True)
            # a palette with transparency cannot go to RGB in one step
            picture = file.convert("RGBA") if file.has_transparency_data else file
            return F.pil_to_tensor(picture.convert("RGB"))
    except Exception as error:  # a damaged file can make Pillow raise anything, from OSError to SyntaxError
        raise ValueError(f"cannot read the picture {path}: {error}") from error


class CocoDetection(Dataset[tuple[Tensor, Target]]):
    """The pictures of one split with their objects.

    Without ``transforms``, item ``i`` is the picture ``ids[i]``, a ``tv_tensors.Image`` (3, H, W) uint8, and its
    target:

    * ``boxes`` (T, 4): ``tv_tensors.BoundingBoxes``, xyxy in pixels, clamped to the picture
    * ``labels`` (T,) int64: category ids as in the file, so ``num_classes`` is the highest id + 1
    * ``area`` (T,): pixels of the original picture, as annotated; ``iscrowd`` (T,) int64: all 0
    * ``image_id`` () int64; ``orig_size`` and ``size`` (2,) int64: height, width
    * ``masks`` (T, H, W) bool ``tv_tensors.Mask``, with ``masks=True``

    Crowds and boxes without area are left out, as in DETR's training; pictures without objects stay: T is 0.
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
            FileNotFoundError: there is no such split.
        """
        self.image_folder, annotation_file = find_split(root, split)
        self.coco = _read_annotations(annotation_file)
        self.transforms = transforms
        self.masks = masks
        self.ids: list[int] = sorted(self.coco.imgs)
        self.class_names: dict[int, str] = {id: category["name"] for id, category in self.coco.cats.items()}
        self.num_classes = max(self.class_names, default=0) + 1

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image_id = self.ids[index]
        image = tv_tensors.Image(read_image(self.image_folder / self.coco.imgs[image_id]["file_name"]))
        target = self._target(image_id, (image.shape[1], image.shape[2]))
        return (image, target) if self.transforms is None else self.transforms(image, target)

    def _target(self, image_id: int, size: tuple[int, int]) -> Target:
        annotations = [a for a in self.coco.imgToAnns[image_id] if not a.get("iscrowd")]
        boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32).reshape(-1, 4)
        boxes = _clamped_xyxy(boxes, size)
        keep = (boxes[:, 2:] > boxes[:, :2]).all(1).tolist()
        boxes = boxes[keep]
        annotations = [a for a, kept in zip(annotations, keep, strict=True) if kept]
        target: Target = {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),  # type: ignore[call-overload]
            "labels": torch.tensor([a["category_id"] for a in annotations], dtype=torch.int64),
            "area": torch.tensor([a["area"] for a in annotations], dtype=torch.float32),
            "iscrowd": torch.zeros(len(annotations), dtype=torch.int64),
            "image_id": torch.tensor(image_id),
            "orig_size": torch.tensor(size),
            "size": torch.tensor(size),
        }
        if self.masks:
            target["masks"] = self._masks(annotations, size)
        return target

    def _masks(self, annotations: Sequence[dict[str, Any]], size: tuple[int, int]) -> Tensor:
        with warnings.catch_warnings():  # pycocotools has not caught up with NumPy 2
            warnings.simplefilter("ignore", DeprecationWarning)
            masks = [torch.from_numpy(self.coco.annToMask(a)).bool() for a in annotations]
        return tv_tensors.Mask(torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool))


def collate(batch: Sequence[tuple[Tensor, Target]]) -> tuple[NestedTensor, list[Target]]:
    """Pad the pictures of a batch, each (3, H, W) float, to a common size; keep the targets as a list."""
    return NestedTensor.from_images([image for image, _ in batch]), [target for _, target in batch]


def _read_annotations(path: Path) -> "COCO":
    from pycocotools.coco import COCO  # here, so that importing the package does not pay for matplotlib

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        return COCO(path)


def _clamped_xyxy(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes x, y, width, height (T, 4) to xyxy (T, 4) within a picture of ``size`` (height, width)."""
    height, width = size
    boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
    return boxes.clamp(min=torch.zeros(4), max=torch.tensor([width, height, width, height]))
