"""What varies photographs in training beyond a flip: colors, and how near and where the camera stands.

Chapter: *Data preparation*, ``book/04_data``.
"""

import math

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from detr_mini.data.coco import Target

NEAREST, FARTHEST = 1.6, 0.6  # a picture is enlarged or made smaller by up to this
VISIBLE = 0.25  # share of a box that has to stay in the picture, else the object is left out
GRAY = (124, 116, 104)  # ImageNet's mean color: what lies around a picture that was made smaller


def photo_augmentation() -> list[nn.Module]:
    """Other brightness, contrast and colors four times in five, and a zoom half of the time.

    Takes and returns (image, target), the image uint8, boxes xyxy in pixels. The size of the image stays.
    """
    colors = v2.RandomApply([v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4, hue=0.03)], p=0.8)
    return [_Colors(colors), RandomZoom()]


class _Colors(nn.Module):
    """Change the picture; the target is not looked through."""

    def __init__(self, change: nn.Module) -> None:
        super().__init__()
        self.change = change

    def forward(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        return self.change(image), target


class RandomZoom(nn.Module):
    """Half of the time show a part of the picture enlarged, or the whole of it smaller, at a random place.

    The size of the picture stays. Boxes are cut at its edge. An object of which less than ``VISIBLE`` of its box is
    left goes, with its label, area and mask.
    """

    def forward(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        """Return the picture ``(3, H, W)`` and its target, or both zoomed. Boxes are xyxy in pixels."""
        if torch.rand(1) >= 0.5:
            return image, target
        height, width = image.shape[-2:]
        draw = torch.rand(3)
        zoom = FARTHEST * math.exp(float(draw[0]) * math.log(NEAREST / FARTHEST))
        seen_h, seen_w = max(1, round(height / zoom)), max(1, round(width / zoom))  # in pixels of the picture
        top, left = round(float(draw[1]) * (height - seen_h)), round(float(draw[2]) * (width - seen_w))
        boxes = target["boxes"]
        corners, whole = _seen(boxes.as_subclass(Tensor), top, left, seen_h, seen_w)
        scale = torch.tensor([width / seen_w, height / seen_h] * 2)
        changed = target | {"boxes": tv_tensors.wrap(corners * scale, like=boxes)}
        if "masks" in target:
            changed["masks"] = F.resize(F.crop(target["masks"], top, left, seen_h, seen_w), [height, width])
        kept = {name: changed[name][whole] for name in ("labels", "area", "iscrowd", "masks") if name in changed}
        kept["boxes"] = tv_tensors.wrap(changed["boxes"].as_subclass(Tensor)[whole], like=boxes)
        window = _window(image.as_subclass(Tensor), top, left, seen_h, seen_w)
        zoomed = F.resize(window, [height, width], antialias=True)
        return tv_tensors.wrap(zoomed, like=image), changed | kept


def _seen(boxes: Tensor, top: int, left: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes ``(T, 4)`` xyxy as a window sees them, and of which enough is left."""
    moved = boxes - torch.tensor([left, top, left, top])
    cut = moved.clamp(min=torch.zeros(4), max=torch.tensor([width, height, width, height], dtype=torch.float32))
    sides = cut[:, 2:] - cut[:, :2]
    before = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return cut, (sides.prod(1) >= VISIBLE * before) & (sides.amin(1) >= 1)


def _window(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A part of a picture ``(3, H, W)``, gray where it reaches beyond."""
    h, w = image.shape[-2:]
    if top >= 0 and left >= 0 and top + height <= h and left + width <= w:
        return image[:, top : top + height, left : left + width]
    window = torch.tensor(GRAY, dtype=image.dtype)[:, None, None].expand(3, height, width).clone()
    window[:, -top : h - top, -left : w - left] = image  # a window that is not within the picture holds all of it
    return window
